using System.Numerics.Tensors;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace MmeSid.Kernels.Cuda;

/// <summary>A level of a plan on the device: what its screens, their preparation and the re-check read.</summary>
internal sealed class CudaLevel : IDisposable
{
    // Above it a float32 intermediate of the screen could overflow; below the least norm, scales of rows could underflow.
    private const double kOverflow = 1e37, kLargestNorm = 1e18, kLeastNorm = 1e-15;

    private readonly CudaStream _stream;
    private readonly int _level;
    private readonly EncodeForm _form;
    private readonly int _threads;
    private readonly Operands?[] _operands = new Operands?[Screens.Kinds.Length];
    // Each is allocated when it is first filled, and filled again when the codebook is replaced.
    private readonly DeviceMemory<byte>?[] _values = new DeviceMemory<byte>?[Screens.Kinds.Length];
    private readonly List<DeviceMemory<float>> _tables = [];
    private readonly DeviceMemory<float> _codebook = null!;
    private DeviceMemory<float>? _biases, _subtrahends, _norms;
    private DeviceMemory<nint>? _tablePointers;
    // Through which operands go to the device that replace others; the first go from memory as it is, which is not worth pinning some for.
    private PinnedMemory<byte>? _staging;
    private readonly List<IDisposable> _owned = [];
    private ScreenLevel _screen;

    public CudaLevel(CudaStream stream, EncodePlan plan, int level, float[] centre, EncodeForm form, int threads)
    {
        (_stream, _level, _form, _threads) = (stream, level, form, threads);
        try
        {
            _codebook = Own(DeviceMemory<float>.From(stream, plan.Codebook(level)));
            _screen = Load(plan, centre);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Takes the codebook of a plan of the same shape, which is on the device already; nothing may be running on the old one.</summary>
    public void Replace(EncodePlan plan, float[] centre, DeviceMemory<float> codebook)
    {
        _staging ??= Own(PinnedMemory<byte>.Allocate(_stream.Device, checked(PaddedCodes * Screens.Kinds.Max(kind => Screens.RowBytes(kind, Depth)))));
        Array.Clear(_operands);
        _stream.Copy(_codebook, codebook);
        _screen = Load(plan, centre);
    }

    private ScreenLevel Load(EncodePlan plan, float[] centre)
    {
        var screen = new ScreenLevel(plan, _level, centre, _form, _threads, Screens.CodesMultiple(plan.CodeCount(_level)));
        Write(ref _biases, screen.BiasValues);
        // Only later levels ask what this one has subtracted.
        if (_level < plan.Levels - 1)
            LoadSubtrahends(screen, plan.Dimension);
        for (int j = 0; j < screen.Tables; j++)
        {
            if (j == _tables.Count)
                _tables.Add(Own(DeviceMemory<float>.From(_stream, screen.Table(j))));
            else
                _stream.Write(_tables[j], screen.Table(j));
        }
        Write(ref _tablePointers, [.. _tables.Select(table => table.Value)]);
        return screen;
    }

    private void LoadSubtrahends(ScreenLevel screen, int d)
    {
        float[] subtrahends = new float[checked(screen.CodeCount * d)], norms = new float[screen.CodeCount];
        double[] wide = new double[d];
        for (int k = 0; k < norms.Length; k++)
        {
            ReadOnlySpan<float> subtrahend = screen.Subtrahend(k)[..d];
            subtrahend.CopyTo(subtrahends.AsSpan(k * d));
            TensorPrimitives.ConvertTruncating(subtrahend, wide.AsSpan());
            // Rounded up, and never to infinity: the rows of such a plan are not trusted to a screen anyway.
            norms[k] = Math.Min(float.MaxValue, MathF.BitIncrement((float)(Math.Sqrt(TensorPrimitives.SumOfSquares<double>(wide)) * Bounds.Slack)));
        }
        Write<float>(ref _subtrahends, subtrahends);
        Write<float>(ref _norms, norms);
    }

    private void Write<T>(ref DeviceMemory<T>? memory, ReadOnlySpan<T> values)
        where T : unmanaged
    {
        memory ??= Own(DeviceMemory<T>.Allocate(_stream.Device, values.Length));
        _stream.Write(memory, values);
    }

    public DeviceMemory<float> Codebook => _codebook;

    /// <summary>What the residual loses with each code; null for the last level, after which there is none.</summary>
    public DeviceMemory<float>? Subtrahends => _subtrahends;

    /// <summary>At least the norm of each subtrahend; null for the last level.</summary>
    public DeviceMemory<float>? Norms => _norms;

    public DeviceMemory<float> Biases => _biases!;

    public DeviceMemory<nint> Tables => _tablePointers!;

    public int TableCount => _screen.Tables;

    public int CodeCount => _screen.CodeCount;

    public int PaddedCodes => _screen.PaddedCodes;

    public int Depth => _screen.Depth;

    /// <summary>Whether a screen of this kind can serve the level.</summary>
    public bool Has(ScreenKind kind) => kind != ScreenKind.Int8 || Depth <= Operands.kMostInt8Depth;

    /// <summary>The operands of a screen, converted and uploaded when they are first asked for.</summary>
    public Operands this[ScreenKind kind]
    {
        get
        {
            lock (_owned)
                return _operands[(int)kind] ??= new Operands(this, kind);
        }
    }

    public void Dispose()
    {
        foreach (IDisposable memory in _owned)
            memory.Dispose();
    }

    private T Own<T>(T memory)
        where T : IDisposable
    {
        _owned.Add(memory);
        return memory;
    }

    /// <summary>The codewords in a screen's format, and the screen's error bound as a function of a row.</summary>
    internal sealed class Operands
    {
        /// <summary>127² · depth must stay below 2³¹.</summary>
        public const int kMostInt8Depth = 1 << 17;

        // That a thread converts at a time; divides what K is padded to.
        private const int kCodesPerBlock = 32;

        public Operands(CudaLevel level, ScreenKind kind)
        {
            Depth = Screens.PaddedDepth(kind, level.Depth);
            ScreenLevel screen = level._screen;
            float largest = kind == ScreenKind.Float32 ? 0 : Largest(screen, level._threads);
            Scale = kind switch
            {
                ScreenKind.Float32 => 1,
                // The largest value comes into [2^14, 2^15); the scale and its inverse stay normal.
                ScreenKind.Float16 => largest == 0 ? 1 : MathF.ScaleB(1, -Math.Clamp(14 - (int)Math.Floor(Math.Log2(largest)), -120, 120)),
                _ => largest == 0 ? 1 : Math.Max(largest / 127, 1.17549435e-38f),
            };
            int bytes = checked(level.PaddedCodes * Screens.RowBytes(kind, level.Depth));
            Values = level._values[(int)kind] ??= level.Own(DeviceMemory<byte>.Allocate(level._stream.Device, bytes));
            double loss;
            if (level._staging is null)
            {
                byte[] values = new byte[bytes];
                loss = Convert(screen, kind, values, level._threads);
                level._stream.Write<byte>(Values, values);
            }
            else
            {
                // What it held until now is on the device.
                level._stream.Synchronize();
                Span<byte> staged = level._staging.Values[..bytes];
                loss = Convert(screen, kind, staged, level._threads);
                // CudaPlan.Operands waits for it.
                level._stream.Upload<byte>(Values, staged);
            }
            SetBound(screen, kind, loss);
        }

        /// <summary>PaddedCodes rows.</summary>
        public DeviceMemory<byte> Values { get; }

        /// <summary>What a stored value is multiplied with.</summary>
        public float Scale { get; }

        /// <summary>Values of a row.</summary>
        public int Depth { get; }

        /// <summary>The error bound as a function of a row.</summary>
        public ScreenBound Bound { get; private set; }

        /// <summary>Rows with a larger ‖r̂‖ are not trusted to the screen.</summary>
        public double LargestNorm { get; private set; }

        /// <summary>Nor are rows with a smaller one, zero apart.</summary>
        public double LeastNorm { get; private set; }

        // docs/exactness.md §8. w the real operand, ŵ what is stored, δ ≥ ‖w − ŵ‖, x̂ the stored row, B, T the largest bias and tables:
        //   |r·w − x̂·ŵ| ≤ ‖x̂‖δ + (‖x̂ − r̂‖ + ‖r̂ − r‖)‖w‖;   product and its scaling (γ + 2u)‖x̂‖‖ŵ‖;   β and T stored u(B + T)
        //   1 + tables additions and the limit they are compared with, each u(B + T + 2‖x̂‖‖ŵ‖);   ‖x̂ − r̂‖ is measured to u‖x̂‖
        private void SetBound(ScreenLevel screen, ScreenKind kind, double loss)
        {
            const double u = Bounds.Float32;
            double norm = screen.MaximumNorm, stored = norm + loss, sums = screen.MaximumBias + screen.TableMaximum;
            double slack = Bounds.NormSlack(Depth), roundings = (2 + screen.Tables) * u;
            double delta = loss + screen.OperandRounding * norm;
            double perNorm = slack * (2 * delta + 2 * (Screens.Product(kind, Depth) + 2 * u) * stored + 2 * roundings * stored + (kind == ScreenKind.Float32 ? 0 : 4 * u * norm));
            double perLoss = slack * 2 * norm;
            // Squares below 2^-149 vanish from a norm.
            double vanished = Math.Sqrt(Depth) * Math.ScaleB(1, -74);
            double constant = slack * (u * sums + roundings * sums + screen.TableEvaluationError) + Bounds.Underflow(Depth) + (perNorm + 2 * perLoss) * vanished;
            Bound = new ScreenBound { Constant = constant, PerNorm = perNorm, PerLoss = perLoss, PerError = perLoss };
            LargestNorm = sums < kOverflow ? Math.Min(kLargestNorm, (kOverflow - sums) / Math.Max(4 * stored, 1e-30)) : -1;
            LeastNorm = kind == ScreenKind.Float32 ? 0 : kLeastNorm;
        }

        private static float Largest(ScreenLevel screen, int threads)
        {
            float[] largest = new float[Blocks(screen)];
            Parallel.For(0, largest.Length, new ParallelOptions { MaxDegreeOfParallelism = threads }, block =>
            {
                for (int k = block * kCodesPerBlock; k < Math.Min(screen.CodeCount, (block + 1) * kCodesPerBlock); k++)
                    largest[block] = Math.Max(largest[block], Math.Abs(TensorPrimitives.MaxMagnitude(screen.Operand(k))));
            });
            return TensorPrimitives.Max<float>(largest);
        }

        // Fills rows of a screen's format, zeros behind them and behind K; returns δ, the largest ‖w − ŵ‖.
        private unsafe double Convert(ScreenLevel screen, ScreenKind kind, Span<byte> values, int threads)
        {
            double[] losses = new double[Blocks(screen)];
            int rowBytes = Screens.RowBytes(kind, screen.Depth);
            fixed (byte* first = values)
            {
                byte* to = first;
                Parallel.For(0, screen.PaddedCodes / kCodesPerBlock, new ParallelOptions { MaxDegreeOfParallelism = threads }, block =>
                {
                    byte[] row = new byte[rowBytes];
                    float[] kept = new float[screen.Depth];
                    for (int k = block * kCodesPerBlock; k < (block + 1) * kCodesPerBlock; k++)
                    {
                        if (k < screen.CodeCount)
                            losses[block] = Math.Max(losses[block], Convert(screen.Operand(k), kind, row, kept));
                        else
                            Array.Clear(row);
                        for (int at = 0; at < rowBytes; at += Screens.kChunk)
                            Vector128.Create<byte>(row.AsSpan(at, Screens.kChunk)).Store(to + Screens.Chunk(kind, k, at, rowBytes));
                    }
                });
            }
            return Math.Sqrt(TensorPrimitives.Max<double>(losses));
        }

        // ŵ of one codeword; returns ‖w − ŵ‖².
        private double Convert(ReadOnlySpan<float> from, ScreenKind kind, Span<byte> to, Span<float> kept)
        {
            if (kind == ScreenKind.Float32)
            {
                MemoryMarshal.AsBytes(from).CopyTo(to);
                return 0;
            }
            if (kind == ScreenKind.Float16)
            {
                // Scales are powers of two: what is kept is exact.
                Span<Half> halves = MemoryMarshal.Cast<byte, Half>(to)[..from.Length];
                TensorPrimitives.Multiply(from, 1 / Scale, kept);
                TensorPrimitives.ConvertToHalf(kept, halves);
                TensorPrimitives.ConvertToSingle(halves, kept);
                TensorPrimitives.Multiply(kept, Scale, kept);
                return ScreenLevel.Centred(from, kept, []);
            }
            return ConvertToInt8(from, MemoryMarshal.Cast<byte, sbyte>(to));
        }

        // Any integers would do, for the loss is that of those which are stored.
        private double ConvertToInt8(ReadOnlySpan<float> from, Span<sbyte> to)
        {
            ref float first = ref MemoryMarshal.GetReference(from);
            ref sbyte stored = ref MemoryMarshal.GetReference(to);
            float inverse = 1 / Scale;
            Vector256<float> most = Vector256.Create(127f);
            Vector256<double> sum = Vector256<double>.Zero, scale = Vector256.Create((double)Scale);
            int i = 0;
            for (; i + 16 <= from.Length; i += 16)
            {
                Vector256<int> low = Quantized(Vector256.LoadUnsafe(ref first, (nuint)i)), high = Quantized(Vector256.LoadUnsafe(ref first, (nuint)i + 8));
                Vector256<short> narrow = Vector256.Narrow(low, high);
                Vector128.Narrow(narrow.GetLower(), narrow.GetUpper()).StoreUnsafe(ref stored, (nuint)i);
            }
            double squares = Vector256.Sum(sum);
            for (; i < from.Length; i++)
            {
                float value = Math.Clamp(MathF.Round(from[i] * inverse), -127, 127);
                double difference = from[i] - value * (double)Scale;
                to[i] = (sbyte)value;
                squares += difference * difference;
            }
            return squares;

            Vector256<int> Quantized(Vector256<float> values)
            {
                Vector256<float> rounded = Vector256.Min(Vector256.Max(Vector256.Round(values * inverse), -most), most);
                (Vector256<double> valuesLow, Vector256<double> valuesHigh) = Vector256.Widen(values);
                (Vector256<double> roundedLow, Vector256<double> roundedHigh) = Vector256.Widen(rounded);
                Vector256<double> low = valuesLow - roundedLow * scale, high = valuesHigh - roundedHigh * scale;
                sum += low * low + high * high;
                return Vector256.ConvertToInt32(rounded);
            }
        }

        private static int Blocks(ScreenLevel screen) => screen.PaddedCodes / kCodesPerBlock;
    }
}
