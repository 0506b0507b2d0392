using MmeSid.Engine.Embeddings;

namespace MmeSid.Engine.Evaluation;

/// <summary>A user to whom items are recommended.</summary>
/// <param name="History">Item rows, oldest first, at least one.</param>
/// <param name="LeftOut">Item rows that must not be recommended, in any order, repetitions allowed; usually those of the history.</param>
public readonly record struct NextItemQuery(int[] History, int[] LeftOut);

/// <summary>Items that a model cannot tell apart: they share a place in the ranking.</summary>
/// <param name="Items">Item rows, ascending, at least one.</param>
/// <param name="Score">Of each of them, larger is better.</param>
public readonly record struct RankedGroup(int[] Items, double Score);

/// <summary>A model that gives the items most likely to come next, and says which of them share a place.</summary>
public interface INextItemRecommender
{
    /// <summary>The items by row.</summary>
    ItemIds Items { get; }

    /// <summary>The best items for several users. Deterministic; equal queries need not get equal bits in different batches.</summary>
    /// <param name="queries">The users.</param>
    /// <param name="count">Items wanted for each, at least 1.</param>
    /// <returns>
    /// For each user groups, best first, of items that are not left out. The last group is whole, so there may be more items than were asked for; there are
    /// fewer only where the model finds no more.
    /// </returns>
    /// <exception cref="ArgumentException">A history is empty, an item is none of the model's, or the count is out of range.</exception>
    IReadOnlyList<RankedGroup[]> Recommend(IReadOnlyList<NextItemQuery> queries, int count);
}
