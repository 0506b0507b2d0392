using System.Collections.Concurrent;

namespace MmeSid.Kernels.Simd;

/// <summary>
/// One way of encoding blocks of rows: operands, a screen per level that leaves few candidates, and <see cref="Recheck"/> for those that are left. All
/// passes give the same codes; they differ in time and in how many decisions they leave open.
/// </summary>
/// <typeparam name="TWorkspace">Buffers of one worker.</typeparam>
/// <param name="plan">The plan.</param>
/// <param name="largestNorms">Of <see cref="Recheck.LargestNorms"/>.</param>
internal abstract class EncodePass<TWorkspace>(EncodePlan plan, double[] largestNorms) : IEncodePass
    where TWorkspace : EncodeWorkspace
{
    private readonly ConcurrentBag<TWorkspace> _idle = [];

    /// <inheritdoc/>
    public abstract string Name { get; }

    /// <inheritdoc/>
    public abstract int RowsPerBlock { get; }

    /// <summary>The plan.</summary>
    protected EncodePlan Plan => plan;

    /// <inheritdoc/>
    public bool Encode(RowView rows, Span<ushort> codes, Span<float> squaredErrors, ReadOnlySpan<float> ahead, ref EncodeReport report)
    {
        if (!_idle.TryTake(out TWorkspace? workspace))
            workspace = CreateWorkspace(new Recheck(plan, largestNorms));
        try
        {
            int levels = plan.Levels;
            for (int i = 0; i < rows.Count; i++)
            {
                if (!SetOperand(workspace, i, rows[i]))
                    return false;
            }
            for (int level = 0; level < levels; level++)
            {
                Screen(workspace, rows.Count, level, codes, level + 1 == levels ? ahead : default);
                for (int i = 0; i < rows.Count; i++)
                {
                    Span<ushort> path = codes.Slice(i * levels, level + 1);
                    Span<int> left = Left(workspace, i, path, level, ref report);
                    path[level] = (ushort)(left.Length == 1 ? left[0] : workspace.Recheck.Decide(rows[i], path, level, left, ref report));
                    if (level + 1 < levels)
                        Advance(workspace, i, level, path[level]);
                }
            }
            report += new EncodeReport((long)rows.Count * levels, 0, 0, 0);
            for (int i = 0; i < squaredErrors.Length; i++)
                squaredErrors[i] = (float)workspace.Recheck.SquaredError(rows[i], codes.Slice(i * levels, levels));
            return true;
        }
        finally
        {
            _idle.Add(workspace);
        }
    }

    /// <inheritdoc/>
    public void EncodeShadow(ShadowRows shadow, Span<ushort> codes, Span<bool> open, ref EncodeReport report)
    {
        if (!_idle.TryTake(out TWorkspace? workspace))
            workspace = CreateWorkspace(new Recheck(plan, largestNorms));
        try
        {
            int levels = plan.Levels;
            float[] row = new float[plan.Dimension], errorsOfValues = shadow.Format == ShadowFormat.Float16 ? new float[plan.Dimension] : [];
            // Tables are looked up for open rows, too.
            codes.Clear();
            for (int i = 0; i < shadow.Count; i++)
            {
                double error = shadow.Format.Widen(shadow[i], row);
                if (open[i] = !double.IsFinite(error))
                    Array.Clear(row);
                SetOperand(workspace, i, row);
                // ‖x̂ − x‖ ≤ ‖x̂ − x̃‖ + ‖x̃ − x‖. An infinite one keeps the screen from the row.
                workspace.Errors[i] += error;
            }
            for (int level = 0; level < levels; level++)
            {
                Screen(workspace, shadow.Count, level, codes, ahead: default);
                for (int i = 0; i < shadow.Count; i++)
                {
                    if (open[i])
                        continue;
                    Span<ushort> path = codes.Slice(i * levels, level + 1);
                    Span<int> left = Left(workspace, i, path, level, ref report);
                    int code = left.Length == 1 ? left[0] : -1;
                    if (left.Length > 1)
                    {
                        double error = shadow.Format.Widen(shadow[i], row);
                        shadow.Format.Errors(shadow[i], errorsOfValues);
                        code = workspace.Recheck.Prove(row, error, errorsOfValues, path, level, left);
                    }
                    if (code < 0)
                    {
                        open[i] = true;
                        workspace.Errors[i] = double.PositiveInfinity;
                        continue;
                    }
                    path[level] = (ushort)code;
                    if (level + 1 < levels)
                        Advance(workspace, i, level, code);
                }
            }
            report += new EncodeReport((long)shadow.Count * levels, open.Count(true), 0, 0);
        }
        finally
        {
            _idle.Add(workspace);
        }
    }

    /// <inheritdoc/>
    public virtual void Dispose()
    {
        while (_idle.TryTake(out TWorkspace? workspace))
            workspace.Dispose();
    }

    /// <summary>Buffers for one more worker.</summary>
    protected abstract TWorkspace CreateWorkspace(Recheck recheck);

    /// <summary>Begins a row: x − m as the screen's first operand. False when a value is NaN or infinite.</summary>
    protected abstract bool SetOperand(TWorkspace workspace, int index, ReadOnlySpan<float> row);

    /// <summary>Fills every row's survivors of a level. What is <paramref name="ahead"/> in memory is wanted next and may be fetched meanwhile.</summary>
    protected abstract void Screen(TWorkspace workspace, int rows, int level, ReadOnlySpan<ushort> codes, ReadOnlySpan<float> ahead);

    /// <summary>The candidates that the screen leaves of a row: one is proven, none means all codes.</summary>
    protected abstract Span<int> Left(TWorkspace workspace, int index, ReadOnlySpan<ushort> path, int level, ref EncodeReport report);

    /// <summary>The operand of the next level.</summary>
    protected abstract void Advance(TWorkspace workspace, int index, int level, int code);
}

/// <summary>What <see cref="SimdEncoder"/> sees of a pass.</summary>
internal interface IEncodePass : IDisposable
{
    /// <summary>For people: the format of its screen and the instructions.</summary>
    string Name { get; }

    /// <summary>Rows that a worker takes at a time.</summary>
    int RowsPerBlock { get; }

    /// <summary>As <see cref="EncodeBlock"/>.</summary>
    bool Encode(RowView rows, Span<ushort> codes, Span<float> squaredErrors, ReadOnlySpan<float> ahead, ref EncodeReport report);

    /// <summary>Codes of a block of rows that their shadow proves (docs/exactness.md §8); the others are open, and what stands in their codes is nobody's.</summary>
    /// <param name="shadow">[n, d], n at most <see cref="RowsPerBlock"/>.</param>
    /// <param name="codes">[n, L].</param>
    /// <param name="open">[n] whether the row itself must be read.</param>
    /// <param name="report">Decisions, one to re-check for each row that is open, and what the integers of its shadow left open are added.</param>
    void EncodeShadow(ShadowRows shadow, Span<ushort> codes, Span<bool> open, ref EncodeReport report);
}

/// <summary>The buffers of one worker.</summary>
/// <param name="rows">Rows of a block.</param>
/// <param name="stride">Values between two operand rows.</param>
/// <param name="survivors">Codes that are kept of a row.</param>
/// <param name="recheck">Of this worker.</param>
internal unsafe class EncodeWorkspace(int rows, int stride, int survivors, Recheck recheck) : IDisposable
{
    // Zeros: rows of an incomplete last tile are multiplied too and must be numbers.
    private readonly RowMatrix _rows = new(rows, stride);

    /// <summary>Operand rows r̂, [rows, stride].</summary>
    public float* Rows => (float*)_rows.DangerousGetHandle();

    /// <summary>‖r̂‖ per row.</summary>
    public double[] Norms { get; } = new double[rows];

    /// <summary>Bound of ‖r̂ − r‖ per row.</summary>
    public double[] Errors { get; } = new double[rows];

    /// <summary>What the screen of the level at hand leaves of each row.</summary>
    public Survivors Survivors { get; } = new(rows, survivors);

    /// <summary>Decides what the screen leaves open.</summary>
    public Recheck Recheck => recheck;

    /// <summary>The operand of a row.</summary>
    public Span<float> Row(int index, int width) => new(Rows + (nint)index * stride, width);

    public virtual void Dispose() => _rows.Dispose();
}
