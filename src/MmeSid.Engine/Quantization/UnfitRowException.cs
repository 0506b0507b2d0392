namespace MmeSid.Engine.Quantization;

/// <summary>A row that cannot be encoded. Its number counts inside the block that was handed over; who knows where the block comes from names the row in its table.</summary>
/// <param name="row">Row inside the block.</param>
/// <param name="problem">What is wrong with it, to follow its name.</param>
public sealed class UnfitRowException(long row, string problem) : ArgumentException($"row {row} {problem}")
{
    /// <summary>Row inside the block.</summary>
    public long Row => row;

    /// <summary>What is wrong with it, to follow its name.</summary>
    public string Problem => problem;
}
