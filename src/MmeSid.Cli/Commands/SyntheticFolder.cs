using System.Globalization;
using System.Text;
using MmeSid.Cli.Terminal;
using MmeSid.Engine.Files;
using MmeSid.Engine.Synthesis;

namespace MmeSid.Cli.Commands;

/// <summary>The folder of <c>mmesid synth --modalities</c>: tables, texts and sequences of one made-up shop.</summary>
internal static class SyntheticFolder
{
    public const string Collaborative = "collaborative.npy";
    public const string Text = "text.npy";
    public const string Image = "image.npy";
    public const string Items = "items.tsv";
    public const string Sequences = "sequences.txt";
    public const string Leaves = "leaves.npy";

    /// <summary>Each modality: file, dimension, and the share of items that it shows in their true leaf.</summary>
    private static readonly (string File, int Dimension, double Agreement)[] s_tables = [(Collaborative, 64, 0.9), (Text, 384, 0.85), (Image, 512, 0.7)];

    /// <summary>The clusters of a shop of that size: 16 × 16 × 16, fewer where leaves would hold less than four items on average.</summary>
    public static SyntheticHierarchy Hierarchy(long items, ulong seed)
    {
        int children = 16;
        while (children > 2 && 4L * children * children * children > items)
            children--;
        return new SyntheticHierarchy([children, children, children], seed: seed);
    }

    /// <summary>Writes the table of every modality.</summary>
    public static void WriteTables(CommandRun run, string folder, SyntheticHierarchy hierarchy, long items, int? dimension, ulong seed)
    {
        for (int t = 0; t < s_tables.Length; t++)
        {
            (string name, int standard, double agreement) = s_tables[t];
            var catalogue = new SyntheticCatalogue(new SyntheticOptions
            {
                Items = items,
                Dimension = dimension ?? standard,
                Seed = seed + (ulong)t + 1,
                Hierarchy = hierarchy,
                Agreement = agreement,
            });
            using FileStream stream = File.Create(Path.Combine(folder, name));
            SynthCommand.WriteTable(run, $"synth {name}", catalogue, stream);
        }
    }

    /// <summary>Writes texts, sequences and true leaves.</summary>
    /// <exception cref="ArgumentException">No items, or a negative number of users.</exception>
    public static SyntheticStore WriteStore(CommandRun run, string folder, SyntheticHierarchy hierarchy, long items, long users, ulong seed)
    {
        if (users < 0)
            throw new ArgumentException($"--users is {users}, expected at least 0");
        var store = new SyntheticStore(hierarchy, items, seed);
        using (FileStream stream = File.Create(Path.Combine(folder, Leaves)))
        {
            var leaves = new NpyWriter<int>(stream, items, 1);
            for (long row = 0; row < items; row++)
                leaves.Write([hierarchy.Leaf(row)]);
            leaves.Complete();
        }
        run.Progress.Step($"synth {Items}", items, "items", step =>
        {
            using var writer = new StreamWriter(Path.Combine(folder, Items), append: false, new UTF8Encoding(false));
            writer.Write("item_id\ttitle\tattributes\n");
            for (long row = 0; row < items; row++)
            {
                writer.Write(string.Create(CultureInfo.InvariantCulture, $"{row + 1}\t{store.Title(row)}\t{store.Attributes(row)}\n"));
                step.Advance(1);
            }
        });
        run.Progress.Step($"synth {Sequences}", users, "users", step =>
        {
            using var writer = new StreamWriter(Path.Combine(folder, Sequences), append: false, new UTF8Encoding(false));
            for (long user = 0; user < users; user++)
            {
                writer.Write(user + 1);
                foreach (int row in store.History(user))
                {
                    writer.Write(' ');
                    writer.Write(row + 1);
                }
                writer.Write('\n');
                step.Advance(1);
            }
        });
        return store;
    }
}
