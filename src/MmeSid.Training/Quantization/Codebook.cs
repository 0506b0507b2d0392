using MmeSid.Kernels;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace MmeSid.Training.Quantization;

/// <summary>
/// The K codewords of one level, [K, w], which start uniform within ±1/K. They are trained by gradients, or are moving averages of the rows that chose them
/// (van den Oord et al. 2017, appendix A.1): after each step, with n_k rows of sum S_k on code k,
/// <code>
///   N_k ← γ N_k + (1 − γ) n_k    M_k ← γ M_k + (1 − γ) S_k    C_k = M_k / ((N_k + 1e-5) / (ΣN + K·1e-5) · ΣN)
/// </code>
/// A code that no row of <see cref="CodebookOptions.RestartAfter"/> consecutive batches chose moves onto a row of the batch, drawn by libtorch's generator.
/// Averages and counts are buffers, so a checkpoint holds them.
/// </summary>
public sealed class Codebook : nn.Module
{
    private const double kSmoothing = 1e-5;

    private readonly double _decay;
    private readonly long _restartAfter;
    private readonly Parameter? _trained;
    private readonly Tensor? _averaged, _counts, _sums, _idle;

    /// <summary>Draws the codewords from libtorch's generator.</summary>
    /// <param name="codes">K.</param>
    /// <param name="width">w.</param>
    /// <param name="options">Averages and restarts.</param>
    public Codebook(int codes, int width, CodebookOptions options)
        : base(nameof(Codebook))
    {
        ArgumentNullException.ThrowIfNull(options);
        CodeCount = codes;
        _decay = options.MovingAverage;
        _restartAfter = options.RestartAfter;
        Tensor table = empty(codes, width).DetachFromDisposeScope();
        nn.init.uniform_(table, -1.0 / codes, 1.0 / codes);
        if (_decay > 0)
        {
            _averaged = table;
            _counts = ones(codes).DetachFromDisposeScope();
            _sums = table.clone().DetachFromDisposeScope();
        }
        else
        {
            _trained = new Parameter(table);
        }
        if (_restartAfter > 0)
            _idle = zeros(codes, int64).DetachFromDisposeScope();
        RegisterComponents();
    }

    /// <summary>K.</summary>
    public int CodeCount { get; }

    /// <summary>The codewords, [K, w].</summary>
    public Tensor Table => _trained ?? _averaged!;

    /// <summary>argmin_k ‖r − c_k‖² as argmin of ‖c_k‖² − 2 r·c_k, without gradient.</summary>
    /// <param name="rows">r, [n, w].</param>
    /// <returns>int64 [n].</returns>
    public Tensor Nearest(Tensor rows)
    {
        ArgumentNullException.ThrowIfNull(rows);
        using DisposeScope scope = NewDisposeScope();
        using IDisposable constant = no_grad();
        return Scores(rows).argmin(1).MoveToOuterDisposeScope();
    }

    /// <summary>Codes that use every code about equally, without gradient: <see cref="SinkhornCodes"/>.</summary>
    /// <param name="rows">[n, w].</param>
    /// <param name="options">How much they are balanced.</param>
    /// <returns>int64 [n].</returns>
    public Tensor Balanced(Tensor rows, SinkhornOptions options)
    {
        ArgumentNullException.ThrowIfNull(rows);
        using DisposeScope scope = NewDisposeScope();
        using IDisposable constant = no_grad();
        Tensor distances = Scores(rows).add_(rows.detach().square().sum(1, true));
        return SinkhornCodes.Of(distances, options).MoveToOuterDisposeScope();
    }

    /// <summary>The codewords of codes.</summary>
    /// <param name="codes">int64 [n].</param>
    /// <returns>[n, w], differentiable with respect to the table where it is trained by gradients.</returns>
    public Tensor Codewords(Tensor codes) => Table.index_select(0, codes);

    /// <summary>Writes over the codewords and forgets what was averaged and counted.</summary>
    /// <param name="codewords">[K, w].</param>
    public void Set(Tensor codewords)
    {
        ArgumentNullException.ThrowIfNull(codewords);
        using IDisposable constant = no_grad();
        Table.copy_(codewords);
        _counts?.fill_(1);
        _sums?.copy_(codewords);
        _idle?.zero_();
    }

    /// <summary>After a step: moving averages, restarts.</summary>
    /// <param name="rows">What the step quantized, [B, w].</param>
    /// <param name="codes">With which codes, int64 [B].</param>
    public void AfterStep(Tensor rows, Tensor codes)
    {
        ArgumentNullException.ThrowIfNull(rows);
        if (_counts is null && _idle is null)
            return;
        using DisposeScope scope = NewDisposeScope();
        using IDisposable constant = no_grad();
        rows = rows.detach();
        Tensor used = bincount(codes, minlength: CodeCount);
        if (_counts is not null && _sums is not null)
        {
            _counts.mul_(_decay).add_(used, 1 - _decay);
            _sums.mul_(_decay).index_add_(0, codes, rows, 1 - _decay);
            Tensor total = _counts.sum();
            Tensor smoothed = (_counts + kSmoothing).mul_(total).div_(total + (CodeCount * kSmoothing));
            Table.copy_(_sums / smoothed.unsqueeze(1));
        }
        if (_idle is not null)
            Restart(_idle, used, rows);
    }

    private void Restart(Tensor idle, Tensor used, Tensor rows)
    {
        idle.add_(1).mul_(used == 0);
        Tensor dead = (idle >= _restartAfter).nonzero().squeeze(1);
        long count = dead.shape[0];
        if (count == 0)
            return;
        // On the CPU, whose generator a checkpoint holds.
        Tensor chosen = rows.index_select(0, randint(rows.shape[0], [count], int64).to(rows.device));
        Table.index_copy_(0, dead, chosen);
        _sums?.index_copy_(0, dead, chosen);
        _counts?.index_fill_(0, dead, 1);
        idle.index_fill_(0, dead, 0);
    }

    private Tensor Scores(Tensor rows) => addmm(Table.square().sum(1), rows.detach(), Table.t(), 1, -2);
}
