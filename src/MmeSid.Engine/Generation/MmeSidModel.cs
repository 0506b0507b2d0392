using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Files;
using MmeSid.Kernels;

namespace MmeSid.Engine.Generation;

/// <summary>
/// MME-SID (arXiv 2509.02017) after training, for a language model of dimension H: a soft token x_i that stands for item i in a history, and a vector z_i that scores it. The language model reads the
/// tokens of a prefix, the x of the history, oldest first, and the tokens of a suffix; with h the hidden state after the final norm of the last entry, item i scores <c>h · z_i</c>. The frequency-aware
/// fusion of the paper depends on the item alone, so that it is folded into z_i. Immutable; reading is thread-safe.
/// </summary>
public sealed class MmeSidModel : IDisposable
{
    /// <summary>Its kind in <c>model.json</c>.</summary>
    public const string Kind = "mme-sid";

    /// <summary>Tensor of x, [n, H].</summary>
    public const string InputsName = "items.input";

    /// <summary>Tensor of z, [n, H].</summary>
    public const string OutputsName = "items.output";

    private readonly RowMatrix _inputs, _outputs;

    /// <summary>Puts a model together.</summary>
    /// <param name="items">n ≥ 1 items.</param>
    /// <param name="inputs">x, [n, H]; owned from here on.</param>
    /// <param name="outputs">z, [n, H]; owned from here on.</param>
    /// <param name="length">Most items of a history that are looked at, the last ones.</param>
    /// <param name="prefix">Text before the history, perhaps empty. Names of special tokens in it stand for these tokens.</param>
    /// <param name="suffix">Text behind it, likewise.</param>
    /// <exception cref="ArgumentException">Shapes do not fit.</exception>
    public MmeSidModel(ItemIds items, RowMatrix inputs, RowMatrix outputs, int length, string prefix = "", string suffix = "")
    {
        ArgumentNullException.ThrowIfNull(items);
        ArgumentNullException.ThrowIfNull(inputs);
        ArgumentNullException.ThrowIfNull(outputs);
        ArgumentNullException.ThrowIfNull(prefix);
        ArgumentNullException.ThrowIfNull(suffix);
        if (items.Count == 0 || items.Count > int.MaxValue)
            throw new ArgumentException($"the model has {items.Count} items, expected 1 to {int.MaxValue}");
        if (inputs.Count != items.Count || outputs.Count != items.Count || inputs.Dimension != outputs.Dimension)
            throw new ArgumentException($"{items.Count} items need vectors [{items.Count}, H], found [{inputs.Count}, {inputs.Dimension}] and [{outputs.Count}, {outputs.Dimension}]");
        if (length < 1)
            throw new ArgumentException($"the length of a history is {length}, expected at least 1");
        (Items, _inputs, _outputs, Length, Prefix, Suffix) = (items, inputs, outputs, length, prefix, suffix);
    }

    /// <summary>The items by row.</summary>
    public ItemIds Items { get; }

    /// <summary>H.</summary>
    public int Dimension => _inputs.Dimension;

    /// <summary>Most items of a history that are looked at, the last ones.</summary>
    public int Length { get; }

    /// <summary>Text before the history.</summary>
    public string Prefix { get; }

    /// <summary>Text behind the history.</summary>
    public string Suffix { get; }

    /// <summary>x of an item, [H].</summary>
    public ReadOnlySpan<float> Input(int row) => _inputs.Rows(row, 1);

    /// <summary>z of an item, [H].</summary>
    public ReadOnlySpan<float> Output(int row) => _outputs.Rows(row, 1);

    /// <summary>z of all items, [n, H].</summary>
    /// <exception cref="OverflowException">There are 2³¹ values or more.</exception>
    internal RowView Outputs() => _outputs.View(0, (int)Items.Count);

    /// <summary>Prepares z of all items for their largest products; lives no longer than the model.</summary>
    /// <exception cref="OverflowException">There are 2³¹ values or more.</exception>
    public IPreparedItems PrepareOutputs(IBackend backend)
    {
        ArgumentNullException.ThrowIfNull(backend);
        return backend.PrepareItems(_outputs);
    }

    /// <summary>Reads a model of kind <see cref="Kind"/>.</summary>
    /// <exception cref="InvalidDataException">It is of another kind, or its files do not fit each other.</exception>
    public static MmeSidModel Open(ModelFolder folder)
    {
        ArgumentNullException.ThrowIfNull(folder);
        ModelDescription description = folder.Description;
        if (description.Kind != Kind)
            throw new InvalidDataException($"{folder.Path}: the model is of kind '{description.Kind}', expected '{Kind}'");
        using SafetensorsFile weights = SafetensorsFile.Open(folder.PathOf(ModelFolder.WeightsName));
        RowMatrix inputs = WeightTensors.ReadMatrix(weights, InputsName, folder.Items.Count, 0);
        RowMatrix? outputs = null;
        try
        {
            outputs = WeightTensors.ReadMatrix(weights, OutputsName, folder.Items.Count, inputs.Dimension);
            return new MmeSidModel(
                folder.Items, inputs, outputs, description.Option<int>("length"), description.Options.GetValueOrDefault("prefix", ""), description.Options.GetValueOrDefault("suffix", ""));
        }
        catch (Exception problem)
        {
            outputs?.Dispose();
            inputs.Dispose();
            throw problem is ArgumentException ? new InvalidDataException($"{folder.Path}: {problem.Message}", problem) : problem;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _inputs.Dispose();
        _outputs.Dispose();
    }
}
