using System.Numerics.Tensors;

namespace MmeSid.Kernels.Cuda;

/// <summary>A level of a plan on the device: what its screens, their preparation and the re-check read.</summary>
internal sealed class CudaLevel : IDisposable
{
    // Above it a float32 intermediate of the screen could overflow; below the least norm, scales of rows could underflow.
    private const double kOverflow = 1e37, kLargestNorm = 1e18, kLeastNorm = 1e-15;

    private readonly ScreenLevel _screen;
    private readonly CudaStream _stream;
    private readonly Operands?[] _operands = new Operands?[Screens.Kinds.Length];
    private readonly List<IDisposable> _owned = [];

    public CudaLevel(CudaStream stream, EncodePlan plan, int level, float[] centre, EncodeForm form, int threads)
    {
        _stream = stream;
        _screen = new ScreenLevel(plan, level, centre, form, threads, Screens.CodesMultiple(plan.CodeCount(level)));
        int d = plan.Dimension;
        try
        {
            Codebook = Own(DeviceMemory<float>.From(stream, plan.Codebook(level)));
            Biases = Own(DeviceMemory<float>.From(stream, _screen.BiasValues));
            float[] subtrahends = new float[checked(_screen.CodeCount * d)], norms = new float[_screen.CodeCount];
            double[] wide = new double[d];
            for (int k = 0; k < norms.Length; k++)
            {
                ReadOnlySpan<float> subtrahend = _screen.Subtrahend(k)[..d];
                subtrahend.CopyTo(subtrahends.AsSpan(k * d));
                TensorPrimitives.ConvertTruncating(subtrahend, wide.AsSpan());
                // Rounded up, and never to infinity: the rows of such a plan are not trusted to a screen anyway.
                norms[k] = Math.Min(float.MaxValue, MathF.BitIncrement((float)(Math.Sqrt(TensorPrimitives.SumOfSquares<double>(wide)) * Bounds.Slack)));
            }
            Subtrahends = Own(DeviceMemory<float>.From(stream, subtrahends));
            Norms = Own(DeviceMemory<float>.From(stream, norms));
            nint[] tables = new nint[_screen.Tables];
            for (int j = 0; j < tables.Length; j++)
                tables[j] = Own(DeviceMemory<float>.From(stream, _screen.Table(j))).Value;
            Tables = Own(DeviceMemory<nint>.From(stream, tables));
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    public DeviceMemory<float> Codebook { get; }

    public DeviceMemory<float> Subtrahends { get; }

    public DeviceMemory<float> Norms { get; }

    public DeviceMemory<float> Biases { get; }

    public DeviceMemory<nint> Tables { get; }

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

        public Operands(CudaLevel level, ScreenKind kind)
        {
            Depth = Screens.PaddedDepth(kind, level.Depth);
            ScreenLevel screen = level._screen;
            float largest = 0;
            for (int k = 0; k < screen.CodeCount; k++)
                largest = Math.Max(largest, TensorPrimitives.MaxMagnitude(screen.Operand(k)) is var value ? Math.Abs(value) : 0);
            double loss = 0;
            if (kind == ScreenKind.Float32)
            {
                Scale = 1;
                Values = Convert<float>(level, kind, (from, to) => from.CopyTo(to), null, ref loss);
            }
            else if (kind == ScreenKind.Float16)
            {
                // The largest value comes into [2^14, 2^15); the scale and its inverse stay normal.
                int exponent = largest == 0 ? 0 : Math.Clamp(14 - (int)Math.Floor(Math.Log2(largest)), -120, 120);
                float up = MathF.ScaleB(1, exponent), down = MathF.ScaleB(1, -exponent);
                Scale = down;
                Values = Convert<Half>(
                    level,
                    kind,
                    (from, to) =>
                    {
                        for (int i = 0; i < from.Length; i++)
                            to[i] = (Half)(from[i] * up);
                    },
                    half => (double)half * down,
                    ref loss);
            }
            else
            {
                float quantum = largest == 0 ? 1 : Math.Max(largest / 127, 1.17549435e-38f);
                Scale = quantum;
                Values = Convert<sbyte>(
                    level,
                    kind,
                    (from, to) =>
                    {
                        for (int i = 0; i < from.Length; i++)
                            to[i] = (sbyte)Math.Clamp(Math.Round(from[i] / (double)quantum), -127, 127);
                    },
                    value => value * (double)quantum,
                    ref loss);
            }
            SetBound(screen, kind, loss);
        }

        /// <summary>PaddedCodes rows.</summary>
        public IDeviceMemory Values { get; }

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

        private delegate void Conversion<T>(ReadOnlySpan<float> from, Span<T> to);

        private unsafe DeviceMemory<T> Convert<T>(CudaLevel level, ScreenKind kind, Conversion<T> convert, Func<T, double>? back, ref double loss)
            where T : unmanaged
        {
            ScreenLevel screen = level._screen;
            int rowBytes = Screens.RowBytes(kind, screen.Depth), perChunk = Screens.kChunk / sizeof(T);
            var values = new T[checked((int)((long)screen.PaddedCodes * rowBytes / sizeof(T)))];
            var to = new T[Depth];
            for (int k = 0; k < screen.CodeCount; k++)
            {
                ReadOnlySpan<float> operand = screen.Operand(k);
                convert(operand, to);
                for (int i = 0; i < to.Length; i += perChunk)
                    to.AsSpan(i, perChunk).CopyTo(values.AsSpan((int)(Screens.Chunk(kind, k, i * sizeof(T), rowBytes) / sizeof(T))));
                double squares = 0;
                for (int i = 0; i < operand.Length && back is not null; i++)
                {
                    double difference = operand[i] - back(to[i]);
                    squares += difference * difference;
                }
                loss = Math.Max(loss, Math.Sqrt(squares));
            }
            return level.Own(DeviceMemory<T>.From(level._stream, values));
        }
    }
}
