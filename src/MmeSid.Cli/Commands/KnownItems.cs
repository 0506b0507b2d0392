using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Files;

namespace MmeSid.Cli.Commands;

/// <summary>The items of a model, looked up by ids that come from elsewhere.</summary>
/// <param name="items">By row.</param>
/// <param name="skipUnknown">Whether an item that the model lacks is left out.</param>
internal sealed class KnownItems(ItemIds items, bool skipUnknown)
{
    /// <summary>How often an item was left out.</summary>
    public long Skipped { get; private set; }

    /// <summary>What to say of an item that the model lacks.</summary>
    public static string Lacks(ItemIds items, string id) => $"item '{OneLine.Of(id)}' is none of the {items.Count} that the model knows; --unknown skip goes on without it";

    /// <summary>Finds the row of an item; false where it is left out.</summary>
    /// <param name="where">What messages begin with.</param>
    /// <param name="id">The item.</param>
    /// <param name="row">Its row.</param>
    /// <exception cref="InvalidDataException">The model lacks it, and nothing is to be left out.</exception>
    public bool TryFind(string where, string id, out int row)
    {
        bool isKnown = items.TryFind(id, out long found);
        row = (int)found;
        if (isKnown)
            return true;
        Skipped++;
        return skipUnknown ? false : throw new InvalidDataException(where + Lacks(items, id));
    }

    /// <summary>The rows of items, without those that are left out.</summary>
    /// <param name="where">What messages begin with.</param>
    /// <param name="ids">The items.</param>
    public int[] Find(string where, IEnumerable<string> ids)
    {
        var rows = new List<int>();
        foreach (string id in ids)
        {
            if (TryFind(where, id, out int row))
                rows.Add(row);
        }
        return [.. rows];
    }
}
