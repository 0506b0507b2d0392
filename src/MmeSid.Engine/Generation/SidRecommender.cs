using System.Numerics.Tensors;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Evaluation;
using MmeSid.Engine.Sids;
using MmeSid.Kernels;

namespace MmeSid.Engine.Generation;

/// <summary>
/// Recommends by generating SIDs: a beam search over the trie of the catalogue, so that every beam is a prefix of a real SID and every result an item.
/// <para>
/// A prefix c_1 … c_l scores <c>Σ_j log p(c_j | history, c_1 … c_{j−1})</c>, with <c>log p(k) = head_k · h − log Σ_i exp(head_i · h)</c>, the sum over the codes that <see cref="SidScores"/> names. At
/// each level the W best prefixes stay (ties: the lexicographically smaller). Left-out items are masked: a prefix below which all items are left out is not followed, and scores are the same with and
/// without the mask. Items that share a SID are one group, in row order.
/// </para>
/// <para>
/// All sequences of a context begin with what is the same for everyone, prefix and begin vector, which is read once. A user's prompt goes on from there and their beams from the prompt, by
/// <see cref="ILanguageModelContext.Copy"/>; several users are decoded together. Where a level has more beams than the context has sequences, they go in chunks that each start from the prompt again:
/// the same result for more work.
/// </para>
/// Deterministic; the same history scores differently in other batches only by the rounding of the language model. For one thread at a time.
/// </summary>
public sealed class SidRecommender : INextItemRecommender, IDisposable
{
    private const int kMostSequences = 256, kStem = 0;

    private readonly SidLanguageModel _model;
    private readonly SidRecommenderOptions _options;
    private readonly ILanguageModelContext _context;
    private readonly PackedDecoder _decoder;
    private readonly SidBeams[] _users;
    private readonly int _slots;
    private readonly float[] _logits;

    /// <summary>Makes a context for the search and reads into it what is the same for every user.</summary>
    /// <param name="model">The SIDs; used, not owned.</param>
    /// <param name="language">The language model; used, not owned.</param>
    /// <param name="options">How to search.</param>
    /// <exception cref="InvalidDataException">The dimensions of the two differ, or not even one item fits into the language model's context.</exception>
    /// <exception cref="ArgumentException">An option is out of range.</exception>
    /// <exception cref="NativeException">There is not enough memory.</exception>
    public SidRecommender(SidLanguageModel model, AdaptedLanguageModel language, SidRecommenderOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(language);
        (_model, _options) = (model, options ?? new SidRecommenderOptions());
        ArgumentOutOfRangeException.ThrowIfLessThan(_options.Beams, 1, "beams");
        ArgumentOutOfRangeException.ThrowIfLessThan(_options.Users, 1, "users");
        if (language.Model.EmbeddingDimension != model.Dimension)
            throw new InvalidDataException($"the language model has dimension {language.Model.EmbeddingDimension}, the SID vectors have {model.Dimension}");
        int[] prefix = model.Prefix.Length == 0 ? [] : language.Model.Tokenize(model.Prefix, addSpecial: false, parseSpecial: true);
        int stem = prefix.Length + 1, levels = model.Levels;
        MaximumHistory = Math.Min(model.Length, (language.Model.TrainedContext - stem - (levels - 1)) / levels);
        if (MaximumHistory < 1)
            throw new InvalidDataException($"the language model reads {language.Model.TrainedContext} entries: a prefix of {stem} and an item of {levels} codes leave no room for the {levels} codes of the next one");

        int width = Math.Min(_options.Beams, model.Trie.NodeCount(levels));
        int users = Math.Clamp((kMostSequences - 1) / (width + 1), 1, _options.Users);
        _slots = Math.Min(width, ((kMostSequences - 1) / users) - 1);
        _users = [.. Enumerable.Range(0, users).Select(_ => new SidBeams(width, levels))];
        _logits = new float[Enumerable.Range(0, levels).Max(model.Codes)];
        _context = language.CreateContext(new LanguageModelContextOptions
        {
            Sequences = 1 + (users * (1 + _slots)),
            Capacity = stem + (users * ((MaximumHistory * levels) + (_slots * (levels - 1)))),
            BatchSize = _options.BatchSize,
            SkipsUnseen = _options.SkipsUnseen,
            Threads = _options.Threads,
        });
        try
        {
            _decoder = new PackedDecoder(_context, Expand);
            _decoder.Add(prefix, kStem);
            _decoder.Add(model.BeginVector, kStem);
            _decoder.Flush();
        }
        catch
        {
            _context.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public ItemIds Items => _model.Items;

    /// <summary>Items of a history that are looked at: the model's length, or what fits into the language model's context. Of a longer history the oldest are dropped.</summary>
    public int MaximumHistory { get; }

    /// <inheritdoc/>
    /// <exception cref="NotFiniteNumberException">A score is NaN or infinite.</exception>
    /// <exception cref="NativeException">The language model failed; the recommender can be used again.</exception>
    public IReadOnlyList<RankedGroup[]> Recommend(IReadOnlyList<NextItemQuery> queries, int count)
    {
        QueryCheck.Validate(queries, count, Items.Count);
        if (count > _options.Beams)
            throw new ArgumentException($"{count} items are wanted of {_options.Beams} beams, expected at least as many beams");
        var results = new RankedGroup[queries.Count][];
        for (int first = 0; first < queries.Count; first += _users.Length)
        {
            int users = Math.Min(_users.Length, queries.Count - first);
            Search(queries, first, users);
            for (int user = 0; user < users; user++)
                results[first + user] = Groups(_users[user], queries[first + user].LeftOut, count);
        }
        return results;
    }

    /// <inheritdoc/>
    public void Dispose() => _context.Dispose();

    private void Search(IReadOnlyList<NextItemQuery> queries, int first, int users)
    {
        for (int sequence = kStem + 1; sequence < _context.Sequences; sequence++)
        {
            if (_context.Length(sequence) > 0)
                _context.Remove(sequence);
        }
        for (int user = 0; user < users; user++)
        {
            NextItemQuery query = queries[first + user];
            _users[user].Start(MaskedNodes.Of(_model.Trie, _model.Sids, query.LeftOut));
            ReadPrompt(user, query.History.AsSpan(Math.Max(0, query.History.Length - MaximumHistory)));
        }
        while (true)
        {
            _decoder.Flush();
            for (int user = 0; user < users; user++)
                _users[user].Advance();
            if (_users[0].Level == _model.Levels)
                return;
            for (int user = 0; user < users; user++)
                ReadBeams(user);
        }
    }

    private void ReadPrompt(int user, ReadOnlySpan<int> history)
    {
        int prompt = Prompt(user);
        _context.Copy(kStem, prompt);
        for (int i = 0; i < history.Length; i++)
        {
            ReadOnlySpan<ushort> sid = _model.Sids[history[i]];
            for (int level = 0; level < sid.Length; level++)
                _decoder.Add(_model.CodeVector(level, sid[level]), prompt, i == history.Length - 1 && level == sid.Length - 1 ? Mark(user, 0) : PackedDecoder.kSilent);
        }
    }

    private void ReadBeams(int user)
    {
        SidBeams beams = _users[user];
        if (beams.Count <= _slots)
        {
            beams.Place();
            // All copies before the first entry: a parent's sequence is that of its best child from then on.
            for (int beam = 0; beam < beams.Count; beam++)
            {
                int parent = beams.ParentSlot(beam);
                if (beams.Slot(beam) != parent)
                    _context.Copy(parent == SidBeams.kNoSlot ? Prompt(user) : Sequence(user, parent), Sequence(user, beams.Slot(beam)));
            }
            for (int beam = 0; beam < beams.Count; beam++)
                ReadPath(user, beam, Sequence(user, beams.Slot(beam)), beams.ParentSlot(beam) == SidBeams.kNoSlot ? 0 : beams.Level - 1);
            return;
        }
        // Only a user who is alone in the context has more beams than slots. A chunk is decoded before its sequences are used again.
        for (int first = 0; first < beams.Count; first += _slots)
        {
            int end = Math.Min(first + _slots, beams.Count);
            for (int beam = first; beam < end; beam++)
            {
                _context.Copy(Prompt(user), Sequence(user, beam - first));
                ReadPath(user, beam, Sequence(user, beam - first), 0);
            }
            _decoder.Flush();
        }
    }

    // The codes of a beam from a level on.
    private void ReadPath(int user, int beam, int sequence, int from)
    {
        ReadOnlySpan<ushort> path = _users[user].Path(beam);
        for (int level = from; level < path.Length; level++)
            _decoder.Add(_model.CodeVector(level, path[level]), sequence, level == path.Length - 1 ? Mark(user, beam) : PackedDecoder.kSilent);
    }

    // Offers the children of a beam, by the hidden state [H] after its last code.
    private void Expand(int mark, ReadOnlySpan<float> hidden)
    {
        (int beam, int user) = Math.DivRem(mark, _users.Length);
        SidBeams beams = _users[user];
        var node = new TrieNode(beams.Level, beams[beam].Node);
        ReadOnlySpan<ushort> codes = _model.Trie.ChildCodes(node);
        RowView head = _model.Head(node.Level);
        bool raw = _options.Scores == SidScores.Raw;
        Span<float> logits = _logits.AsSpan(0, raw ? head.Count : codes.Length);
        for (int i = 0; i < logits.Length; i++)
            logits[i] = TensorPrimitives.Dot(head[raw ? i : codes[i]], hidden);
        double offset = beams[beam].Score - LogSumExp(logits);
        if (!double.IsFinite(offset))
            throw new NotFiniteNumberException("the model's scores are no numbers: its training diverged");

        int child = _model.Trie.Child(node, 0).Index;
        ReadOnlySpan<int> masked = beams.Masked[node.Level + 1];
        // Masked nodes and children both ascend.
        int next = masked.BinarySearch(child);
        next = next < 0 ? ~next : next;
        for (int i = 0; i < codes.Length; i++, child++)
        {
            if (next < masked.Length && masked[next] == child)
                next++;
            else
                beams.Offer(child, offset + logits[raw ? codes[i] : i], beam, codes[i]);
        }
    }

    private static double LogSumExp(ReadOnlySpan<float> logits)
    {
        double largest = TensorPrimitives.Max(logits), sum = 0;
        foreach (float logit in logits)
            sum += Math.Exp(logit - largest);
        return largest + Math.Log(sum);
    }

    private RankedGroup[] Groups(SidBeams beams, int[] leftOut, int count)
    {
        var groups = new List<RankedGroup>();
        for (int beam = 0, items = 0; beam < beams.Count && items < count; beam++)
        {
            int[] group = Array.FindAll(_model.Trie.Items(new TrieNode(beams.Level, beams[beam].Node)).ToArray(), row => !leftOut.Contains(row));
            groups.Add(new RankedGroup(group, beams[beam].Score));
            items += group.Length;
        }
        return [.. groups];
    }

    // What stands for a beam of a user where one number has to.
    private int Mark(int user, int beam) => (beam * _users.Length) + user;

    private int Prompt(int user) => kStem + 1 + (user * (1 + _slots));

    private int Sequence(int user, int slot) => Prompt(user) + 1 + slot;
}
