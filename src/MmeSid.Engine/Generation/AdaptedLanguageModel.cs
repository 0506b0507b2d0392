namespace MmeSid.Engine.Generation;

/// <summary>A language model with the adapter that every context of it runs with. Owns the model.</summary>
public sealed class AdaptedLanguageModel : IDisposable
{
    private readonly ILanguageModelAdapter? _adapter;
    private readonly float _scale;

    /// <summary>A model as it is.</summary>
    public AdaptedLanguageModel(ILanguageModel model)
    {
        ArgumentNullException.ThrowIfNull(model);
        Model = model;
    }

    private AdaptedLanguageModel(ILanguageModel model, ILanguageModelAdapter adapter, float scale)
        : this(model) => (_adapter, _scale) = (adapter, scale);

    /// <summary>The model.</summary>
    public ILanguageModel Model { get; }

    /// <summary>Loads the base and, where there is one, the adapter.</summary>
    /// <param name="files">Where they are.</param>
    /// <param name="load">Loads a base model.</param>
    /// <exception cref="InvalidDataException">A file is no model, or the adapter does not fit the base.</exception>
    public static AdaptedLanguageModel Load(LanguageModelFiles files, Func<string, ILanguageModel> load)
    {
        ArgumentNullException.ThrowIfNull(files);
        ArgumentNullException.ThrowIfNull(load);
        ILanguageModel model = load(files.Base);
        try
        {
            return files.Adapter is null ? new AdaptedLanguageModel(model) : new AdaptedLanguageModel(model, model.LoadAdapter(files.Adapter), files.AdapterScale);
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    /// <summary>Makes a context with the adapter attached.</summary>
    /// <exception cref="ArgumentException">An option is out of range, or the adapter's scale is not finite.</exception>
    /// <exception cref="Kernels.NativeException">There is not enough memory.</exception>
    public ILanguageModelContext CreateContext(LanguageModelContextOptions options)
    {
        ILanguageModelContext context = Model.CreateContext(options);
        try
        {
            if (_adapter is not null)
                context.Attach((_adapter, _scale));
            return context;
        }
        catch
        {
            context.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public void Dispose() => Model.Dispose();
}
