using System.Numerics.Tensors;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Evaluation;
using MmeSid.Kernels;

namespace MmeSid.Engine.Generation;

/// <summary>Options of <see cref="ScoringRecommender"/>.</summary>
public sealed record ScoringRecommenderOptions
{
    /// <summary>Users that are read together.</summary>
    public int Users { get; init; } = 8;

    /// <summary>Most entries of one call of the language model.</summary>
    public int BatchSize { get; init; } = 512;

    /// <summary>Threads of the language model and of the scores of all items; 0: all cores.</summary>
    public int Threads { get; init; }
}

/// <summary>
/// Recommends by one forward pass of <see cref="MmeSidModel"/> and the largest inner products <c>h · z_i</c> over all items; equal products in row order, every item a group of its own. The prefix is
/// read once and shared by all users, several of whom are decoded together. Deterministic; the same history scores differently in other batches only by the rounding of the language model. For one
/// thread at a time.
/// </summary>
public sealed class ScoringRecommender : INextItemRecommender, INextItemScorer, IDisposable
{
    private const int kStem = 0, kItemsPerTask = 1024;

    private readonly MmeSidModel _model;
    private readonly IBackend _backend;
    private readonly ScoringRecommenderOptions _options;
    private readonly ILanguageModelContext _context;
    private readonly PackedDecoder _decoder;
    private readonly int[] _suffix;
    private readonly float[] _hidden;
    // From the first ranking on: who only scores does without.
    private IPreparedItems? _items;

    /// <summary>Makes a context and reads the prefix into it.</summary>
    /// <param name="model">The items; used, not owned.</param>
    /// <param name="language">The language model; used, not owned.</param>
    /// <param name="backend">Finds the largest products; used, not owned.</param>
    /// <param name="options">Sizes.</param>
    /// <exception cref="InvalidDataException">The dimensions of the two differ, or not even one item fits into the language model's context.</exception>
    /// <exception cref="ArgumentException">An option is out of range.</exception>
    /// <exception cref="NativeException">There is not enough memory.</exception>
    public ScoringRecommender(MmeSidModel model, AdaptedLanguageModel language, IBackend backend, ScoringRecommenderOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(language);
        ArgumentNullException.ThrowIfNull(backend);
        (_model, _backend, _options) = (model, backend, options ?? new ScoringRecommenderOptions());
        ArgumentOutOfRangeException.ThrowIfLessThan(_options.Users, 1, "users");
        ArgumentOutOfRangeException.ThrowIfGreaterThan(_options.Users, 255, "users");
        if (language.Model.EmbeddingDimension != model.Dimension)
            throw new InvalidDataException($"the language model has dimension {language.Model.EmbeddingDimension}, the items have {model.Dimension}");
        int[] prefix = Tokens(model.Prefix);
        _suffix = Tokens(model.Suffix);
        MaximumHistory = Math.Min(model.Length, language.Model.TrainedContext - prefix.Length - _suffix.Length);
        if (MaximumHistory < 1)
            throw new InvalidDataException($"the language model reads {language.Model.TrainedContext} entries: a prefix of {prefix.Length} and a suffix of {_suffix.Length} leave no room for an item");
        _hidden = new float[_options.Users * model.Dimension];
        _context = language.CreateContext(new LanguageModelContextOptions
        {
            Sequences = 1 + _options.Users,
            Capacity = prefix.Length + (_options.Users * (MaximumHistory + _suffix.Length)),
            BatchSize = _options.BatchSize,
            Threads = _options.Threads,
        });
        try
        {
            _decoder = new PackedDecoder(_context, (user, hidden) => hidden.CopyTo(_hidden.AsSpan(user * model.Dimension)));
            _decoder.Add(prefix, kStem);
            _decoder.Flush();
        }
        catch
        {
            _context.Dispose();
            throw;
        }

        int[] Tokens(string text) => text.Length == 0 ? [] : language.Model.Tokenize(text, addSpecial: false, parseSpecial: true);
    }

    /// <inheritdoc cref="INextItemScorer.Items"/>
    public ItemIds Items => _model.Items;

    /// <summary>Items of a history that are looked at: the model's length, or what fits into the language model's context. Of a longer history the oldest are dropped.</summary>
    public int MaximumHistory { get; }

    /// <inheritdoc/>
    /// <exception cref="NotFiniteNumberException">A score is NaN or infinite.</exception>
    /// <exception cref="NativeException">The language model failed; the recommender can be used again.</exception>
    public IReadOnlyList<RankedGroup[]> Recommend(IReadOnlyList<NextItemQuery> queries, int count)
    {
        QueryCheck.Validate(queries, count, Items.Count);
        var results = new List<RankedGroup[]>(queries.Count);
        foreach (NextItemQuery[] batch in queries.Chunk(_options.Users))
        {
            ReadHistories([.. batch.Select(query => query.History)]);
            // As many more as may turn out to be left out.
            int most = (int)Math.Min(Items.Count, (long)count + batch.Max(query => query.LeftOut.Distinct().Count()));
            int[] rows = new int[batch.Length * most];
            var scores = new float[rows.Length];
            _items ??= _model.PrepareOutputs(_backend);
            _items.TopInnerProducts(new RowView(_hidden.AsSpan(0, batch.Length * _model.Dimension), _model.Dimension), most, rows, scores);
            for (int user = 0; user < batch.Length; user++)
            {
                var leftOut = new HashSet<int>(batch[user].LeftOut);
                results.Add([.. Enumerable.Range(user * most, most).Where(place => !leftOut.Contains(rows[place])).Take(count).Select(place => new RankedGroup([rows[place]], scores[place]))]);
            }
        }
        return results;
    }

    /// <inheritdoc/>
    /// <exception cref="ArgumentException">A history is empty or names a row that the model lacks, or the span has another length.</exception>
    /// <exception cref="NotFiniteNumberException">A score is NaN or infinite.</exception>
    public void Score(IReadOnlyList<int[]> histories, Span<float> scores)
    {
        ArgumentNullException.ThrowIfNull(histories);
        int items = (int)Items.Count;
        if (scores.Length != (long)histories.Count * items)
            throw new ArgumentException($"{histories.Count} histories and {items} items need {(long)histories.Count * items} scores, the span has {scores.Length}", nameof(scores));
        for (int i = 0; i < histories.Count; i++)
            QueryCheck.Validate(histories[i], i, items);
        var products = new float[Math.Min(_options.Users, histories.Count) * items];
        for (int first = 0; first < histories.Count; first += _options.Users)
        {
            int users = Math.Min(_options.Users, histories.Count - first);
            ReadHistories([.. histories.Skip(first).Take(users)]);
            Parallel.For(0, (items + kItemsPerTask - 1) / kItemsPerTask, new ParallelOptions { MaxDegreeOfParallelism = _options.Threads == 0 ? -1 : _options.Threads }, task =>
            {
                for (int row = task * kItemsPerTask; row < Math.Min(items, (task + 1) * kItemsPerTask); row++)
                {
                    for (int user = 0; user < users; user++)
                        products[(user * items) + row] = TensorPrimitives.Dot(_model.Output(row), _hidden.AsSpan(user * _model.Dimension, _model.Dimension));
                }
            });
            products.AsSpan(0, users * items).CopyTo(scores[(first * items)..]);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _items?.Dispose();
        _context.Dispose();
    }

    // Leaves the last hidden state of each history in _hidden, [users, H].
    private void ReadHistories(int[][] histories)
    {
        for (int user = 0; user < histories.Length; user++)
        {
            _context.Copy(kStem, 1 + user);
            ReadOnlySpan<int> history = histories[user].AsSpan(Math.Max(0, histories[user].Length - MaximumHistory));
            for (int i = 0; i < history.Length; i++)
                _decoder.Add(_model.Input(history[i]), 1 + user, i == history.Length - 1 && _suffix.Length == 0 ? user : PackedDecoder.kSilent);
        }
        for (int user = 0; user < histories.Length; user++)
            _decoder.Add(_suffix, 1 + user, user);
        _decoder.Flush();
        if (!float.IsFinite(TensorPrimitives.SumOfMagnitudes<float>(_hidden.AsSpan(0, histories.Length * _model.Dimension))))
            throw new NotFiniteNumberException("the model's scores are no numbers: its training diverged");
    }
}
