using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Sids;

namespace MmeSid.Training.LanguageModels;

/// <summary>User sequences as rows of a bundle (<see cref="ItemSequences"/>).</summary>
public sealed class SidSequences : ItemSequences
{
    /// <summary>Finds the items of the sequences in the bundle.</summary>
    /// <param name="sequences">Each user's events.</param>
    /// <param name="bundle">With their SIDs.</param>
    /// <param name="skipUnknown">Whether items that the bundle has not are left out instead of refused.</param>
    /// <exception cref="InvalidDataException">Items are not in the bundle: how many, and one of them.</exception>
    public SidSequences(InteractionSequences sequences, SidBundle bundle, bool skipUnknown)
        : base(sequences, (bundle ?? throw new ArgumentNullException(nameof(bundle))).Items, $"the bundle {bundle.Folder}", skipUnknown) =>
        (Bundle, Vocabulary) = (bundle, SidVocabulary.Of(bundle));

    /// <summary>Whose SIDs.</summary>
    public SidBundle Bundle { get; }

    /// <summary>Their codes.</summary>
    public SidVocabulary Vocabulary { get; }
}
