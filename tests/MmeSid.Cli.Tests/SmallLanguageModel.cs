namespace MmeSid.Cli.Tests;

/// <summary>What the tests of trained language models share: users whose next item is certain, and a model of a few thousand parameters.</summary>
internal static class SmallLanguageModel
{
    /// <summary>Items of the sequences.</summary>
    public const int Items = 15;

    /// <summary>Options of a model that learns them in seconds.</summary>
    public static string[] Options { get; } = ["--layers", "2", "--dimension", "32", "--heads", "4", "--feed-forward", "64", "--length", "6", "--batch", "64", "--device", "cpu", "--threads", "1"];

    /// <summary>User u takes items u, u + 1, … of 1 … 15, again and again from the start.</summary>
    public static string Sequences(ScratchFolder scratch, int users = 60) => scratch.Text("S.txt",
        string.Join('\n', Enumerable.Range(0, users).Select(user => $"u{user} {string.Join(' ', Enumerable.Range(user, 4 + (user % 4)).Select(item => (item % Items) + 1))}")) + "\n");
}
