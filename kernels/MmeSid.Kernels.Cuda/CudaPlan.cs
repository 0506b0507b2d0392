namespace MmeSid.Kernels.Cuda;

/// <summary>A plan on the device, in one of the forms that its screens evaluate.</summary>
internal sealed class CudaPlan : IDisposable
{
    // What the tables may take where every level reads them: they stay in the second-level cache beside the codewords.
    private const long kMostTableBytes = 32L << 20;

    private readonly CudaStream _stream;
    private readonly CudaLevel[] _levels;
    private readonly Operands?[] _operands = new Operands?[Screens.Kinds.Length];

    public CudaPlan(CudaStream stream, EncodePlan plan, float[] centre, EncodeForm form, int threads)
    {
        _stream = stream;
        Form = form;
        _levels = new CudaLevel[plan.Levels];
        try
        {
            for (int level = 0; level < _levels.Length; level++)
                _levels[level] = new CudaLevel(stream, plan, level, centre, form, threads);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Takes the codebooks of a plan of the same shape, which are on the device already, in the place of its own; nothing may be running on them.</summary>
    public void Replace(EncodePlan plan, float[] centre, IReadOnlyList<DeviceMemory<float>> codebooks)
    {
        for (int level = 0; level < _levels.Length; level++)
            _levels[level].Replace(plan, centre, codebooks[level]);
        foreach (Operands? operands in _operands)
            operands?.Dispose();
        Array.Clear(_operands);
    }

    /// <summary>What a screen's operand is.</summary>
    public EncodeForm Form { get; }

    /// <summary>In their order.</summary>
    public IReadOnlyList<CudaLevel> Levels => _levels;

    /// <summary>Whether the levels of a plan are few and small enough for one operand to serve them all (<see cref="EncodeForm.Tables"/>).</summary>
    public static bool CanShareOperand(EncodePlan plan) => plan.Levels > 1 && ScreenLevel.TableBytes(plan) <= kMostTableBytes;

    /// <summary>What the screens of an arithmetic read of all levels; converted and uploaded when it is first asked for.</summary>
    public Operands this[ScreenKind kind]
    {
        get
        {
            lock (_operands)
                return _operands[(int)kind] ??= new Operands(_stream, [.. _levels.Select(level => (level, level[kind]))]);
        }
    }

    public void Dispose()
    {
        foreach (CudaLevel? level in _levels)
            level?.Dispose();
        foreach (Operands? operands in _operands)
            operands?.Dispose();
    }

    /// <summary>Codewords in a screen's format with what belongs to them, and error bounds.</summary>
    internal sealed class Operands : IDisposable
    {
        // Returns when the stream has done all that it was given: the levels' copies too.
        public Operands(CudaStream stream, (CudaLevel Level, CudaLevel.Operands Values)[] levels)
        {
            Levels = DeviceMemory<ScreenLevelArguments>.From(stream, [.. levels.Select(level => new ScreenLevelArguments
            {
                Codewords = level.Values.Values.Value, Biases = level.Level.Biases.Value, Tables = level.Level.Tables.Value,
                CodewordScale = level.Values.Scale, PaddedCodes = level.Level.PaddedCodes, TableCount = level.Level.TableCount,
            })]);
            Bounds = DeviceMemory<ScreenBound>.From(stream, [.. levels.Select(level => level.Values.Bound)]);
        }

        /// <summary>[L].</summary>
        public DeviceMemory<ScreenLevelArguments> Levels { get; }

        /// <summary>[L].</summary>
        public DeviceMemory<ScreenBound> Bounds { get; }

        public void Dispose()
        {
            Levels.Dispose();
            Bounds.Dispose();
        }
    }
}
