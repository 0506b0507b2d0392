namespace MmeSid.Engine.Evaluation;

/// <summary>An item that a user was shown, or is taken to have been shown, and whether it was clicked.</summary>
/// <param name="User">Number of the user in the log's sequences.</param>
/// <param name="Seen">The history is that many of the user's first clicks.</param>
/// <param name="Item">The item, numbered as in the sequences.</param>
/// <param name="IsClicked">The label.</param>
public readonly record struct ClickSample(int User, int Seen, int Item, bool IsClicked);
