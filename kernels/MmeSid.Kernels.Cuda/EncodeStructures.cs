using System.Runtime.InteropServices;

namespace MmeSid.Kernels.Cuda;

// Mirrors of kernels/cuda/encode.h, field by field. softcuda compares the sizes with the PTX.

[StructLayout(LayoutKind.Sequential)]
internal struct EncodeRows
{
    public nint Values;
    public long Stride;
    public nint Codes;
    public int Count;
    public int Dimension;
    public int Element;
    public int Levels;
}

/// <summary>E = Constant + PerNorm ‖x̂‖ + PerLoss ‖x̂ − r̂‖ + PerError ‖r̂ − r‖.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct ScreenBound
{
    public double Constant, PerNorm, PerLoss, PerError;
}

[StructLayout(LayoutKind.Sequential)]
internal struct PrepareArguments
{
    public EncodeRows Rows;
    public nint Centre;
    public nint Subtrahends;
    public nint Norms;
    public nint Operands;
    public nint Scales;
    public nint Margins;
    public nint BadRow;
    public nint Bounds;
    public double LargestNorm;
    public double SmallestNorm;
    public double NormSlack;
    public int Level;
    public int BoundCount;
    public int Depth;
    public int Wide;
}

[StructLayout(LayoutKind.Sequential)]
internal struct ScreenLevelArguments
{
    public nint Codewords;
    public nint Biases;
    public nint Tables;
    public float CodewordScale;
    public int PaddedCodes;
    public int TableCount;
}

[StructLayout(LayoutKind.Sequential)]
internal struct ScreenArguments
{
    public nint Operands;
    public nint Levels;
    public nint Scales;
    public nint Margins;
    public nint Codes;
    public nint Open;
    public nint OpenCounts;
    public int OpenCapacity;
    public int Count;
    public int Depth;
    public int FirstLevel;
    public int LevelCount;
    public int TotalLevels;
}

[StructLayout(LayoutKind.Sequential)]
internal struct RecheckArguments
{
    public EncodeRows Rows;
    public nint Codebooks;
    public nint Biases;
    public nint Open;
    public nint OpenCounts;
    public nint Changed;
    public nint Undecided;
    public nint UndecidedCount;
    public nint Candidates;
    public nint Scratch;
    public double CodewordNorms;
    public double Slack;
    public int OpenCapacity;
    public int Level;
    public int EndLevel;
    public int CodeCount;
    public int PrefixSemantic;
    public int PrefixLevels;
}

[StructLayout(LayoutKind.Sequential)]
internal struct ErrorArguments
{
    public EncodeRows Rows;
    public nint Codebooks;
    public nint Errors;
    public int PrefixLevels;
}

/// <summary>An OpenRow: two integers and its candidates.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct OpenRow
{
    public const int kCandidates = 16;

    public int Row;
    public int Count;
    public fixed ushort Candidates[kCandidates];
}

/// <summary>What a batch counts; cleared before it starts.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct BatchCounts
{
    /// <summary>Byte offsets, for the kernels.</summary>
    public const int kBadRowOffset = 8, kUndecidedOffset = 12;

    /// <summary>Codewords compared in float64.</summary>
    public ulong Candidates;

    /// <summary>Row that is not finite, as an unsigned number: all ones where there is none.</summary>
    public uint BadRow;

    /// <summary>Decisions that float64 left open.</summary>
    public int Undecided;
}
