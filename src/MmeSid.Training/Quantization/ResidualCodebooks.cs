using MmeSid.Training.Optimization;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace MmeSid.Training.Quantization;

/// <summary>Rows after residual quantization.</summary>
/// <param name="Value">z + sg(Σ q_l − z), [n, w]: the value of the codewords, the gradient of the rows (straight-through).</param>
/// <param name="Levels">r_l and q_l, each [n, w].</param>
/// <param name="Codes">k_l per level, int64 [n].</param>
public sealed record QuantizedRows(Tensor Value, IReadOnlyList<(Tensor Residual, Tensor Codeword)> Levels, IReadOnlyList<Tensor> Codes);

/// <summary>
/// Residual quantization in training: <c>r_1 = z, k_l = argmin_k ‖r_l − C_l[k]‖², q_l = C_l[k_l], r_{l+1} = r_l − q_l</c>; the result is z + sg(Σ q_l − z).
/// <para>
/// Which gradient the commitment term μ·MSE(r_l, sg(q_l)) sends depends on how the residual is written down.
/// </para>
/// <para>
/// <see cref="ResidualPath.EveryLevel"/>, the paper's formula: <c>r_l = z − Σ_{j&lt;l} C_j[k_j]</c>, so ∂r_l/∂z is the identity at every level and
/// <c>∂/∂z = 2μ/(Bw) Σ_l (r_l − q_l)</c>: all levels pull z to their codewords. ∂r_l/∂C_j[k_j] is minus the identity for j &lt; l, so each codeword is also
/// moved, with weight μ, by what the levels after it leave over.
/// </para>
/// <para>
/// <see cref="ResidualPath.FirstLevel"/>, the released code: each level passes on the straight-through value <c>q'_l = r_l + sg(q_l − r_l)</c> and
/// <c>r_{l+1} = r_l − q'_l = sg(r_l − q_l)</c>: the two r_l cancel, the later residuals are constants, and <c>∂/∂z = 2μ/(Bw) (r_1 − q_1)</c> is level 1's
/// alone. The sum Σ q'_l has the same gradient as above, the identity, through its first term.
/// </para>
/// </summary>
public sealed class ResidualCodebooks : nn.Module
{
    // Rows whose distances to all codes are held at once when a whole table is quantized.
    private const int kRowsPerBlock = 4096;

    private readonly CodebookOptions _options;
    private readonly ModuleList<Codebook> _levels;

    /// <summary>Draws the codewords from libtorch's generator.</summary>
    /// <param name="width">w.</param>
    /// <param name="options">Levels and their codes.</param>
    public ResidualCodebooks(int width, CodebookOptions options)
        : base(nameof(ResidualCodebooks))
    {
        ArgumentNullException.ThrowIfNull(options);
        _options = options;
        _levels = nn.ModuleList(options.Codes.Select(codes => new Codebook(codes, width, options)).ToArray());
        RegisterComponents();
    }

    /// <summary>The levels in order.</summary>
    public IReadOnlyList<Codebook> Levels => _levels;

    /// <summary>Quantizes rows. In training mode the last level is balanced over the batch where the options say so.</summary>
    /// <param name="rows">z, [n, w].</param>
    public QuantizedRows Quantize(Tensor rows)
    {
        var levels = new List<(Tensor, Tensor)>();
        var codes = new List<Tensor>();
        Tensor residual = rows, sum = zeros_like(rows);
        for (int level = 0; level < _levels.Count; level++)
        {
            Codebook codebook = _levels[level];
            Tensor code = Choose(codebook, residual, level);
            Tensor codeword = codebook.Codewords(code);
            levels.Add((residual, codeword));
            codes.Add(code);
            using (no_grad())
                sum.add_(codeword);
            if (level < _levels.Count - 1)
                residual = _options.Path == ResidualPath.EveryLevel ? residual - codeword : residual.detach() - codeword.detach();
        }
        return new QuantizedRows(rows + (sum - rows.detach()), levels, codes);
    }

    /// <summary>
    /// <see cref="ResidualLoss"/> of quantized rows, with gradients that are written down instead of walked back through the levels. With d_l = r_l − q_l, the value is
    /// (1 + μ)/(LBw) Σ_l ‖d_l‖² and
    /// <code>
    ///   ∂/∂z = 2μ/(LBw) Σ_l d_l                                              first-level: d_1 alone
    ///   ∂/∂C_l[k] = −2/(LBw) Σ over the rows of code k of (d_l + μ Σ_{m&gt;l} d_m)       first-level: d_l alone
    /// </code>
    /// </summary>
    /// <param name="quantized">Of <see cref="Quantize"/>.</param>
    /// <param name="commitment">μ.</param>
    /// <returns>A scalar that can be differentiated once.</returns>
    public Tensor Loss(QuantizedRows quantized, double commitment)
    {
        ArgumentNullException.ThrowIfNull(quantized);
        using DisposeScope scope = NewDisposeScope();
        Tensor rows = quantized.Levels[0].Residual, squares;
        var known = new List<(Tensor Variable, Tensor Gradient)>();
        using (no_grad())
        {
            double unit = 2.0 / (_levels.Count * rows.numel());
            bool everyLevel = _options.Path == ResidualPath.EveryLevel;
            Tensor later = zeros_like(rows);
            squares = zeros([], dtype: rows.dtype, device: rows.device);
            for (int level = _levels.Count - 1; level >= 0; level--)
            {
                Tensor difference = quantized.Levels[level].Residual.detach() - quantized.Levels[level].Codeword.detach(), flat = difference.flatten();
                squares.add_(flat.dot(flat));
                if (_levels[level].Table is Parameter trained)
                    known.Add((trained, zeros_like(trained).index_add_(0, quantized.Codes[level], everyLevel ? difference.add(later, commitment) : difference, -unit)));
                if (everyLevel || level == 0)
                    later.add_(difference);
            }
            squares.mul_((1 + commitment) * unit / 2);
            if (rows.requires_grad && commitment != 0)
                known.Add((rows, later.mul_(commitment * unit)));
        }
        return KnownGradient.At(squares, known).MoveToOuterDisposeScope();
    }

    /// <summary>The codes of one level: nearest, or balanced where it is the last and in training mode.</summary>
    internal Tensor Choose(Codebook codebook, Tensor rows, int level) =>
        training && level == _levels.Count - 1 && _options.LastLevel is { } sinkhorn ? codebook.Balanced(rows, sinkhorn) : codebook.Nearest(rows);

    /// <summary>After a step: moving averages and restarts of every level.</summary>
    internal void AfterStep(QuantizedRows last)
    {
        for (int level = 0; level < _levels.Count; level++)
            _levels[level].AfterStep(last.Levels[level].Residual, last.Codes[level]);
    }

    /// <summary>Starts every level from the rows that reach it.</summary>
    /// <param name="rows">All encoded rows, [n, w], overwritten.</param>
    /// <param name="start">How.</param>
    /// <param name="what">What the rows are, for progress.</param>
    internal void Start(Tensor rows, CodebookStart start, string what)
    {
        using IDisposable constant = no_grad();
        for (int level = 0; level < _levels.Count; level++)
        {
            start.Set(_levels[level], rows, level, $"{what}level {level + 1} of {_levels.Count}");
            for (long first = 0; first < rows.shape[0]; first += kRowsPerBlock)
            {
                using DisposeScope block = NewDisposeScope();
                Tensor part = rows.narrow(0, first, Math.Min(kRowsPerBlock, rows.shape[0] - first));
                part.sub_(_levels[level].Codewords(_levels[level].Nearest(part)));
            }
        }
    }
}
