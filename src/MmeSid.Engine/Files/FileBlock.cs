using Microsoft.Win32.SafeHandles;

namespace MmeSid.Engine.Files;

/// <summary>Positional reads that never come back short without saying so.</summary>
internal static class FileBlock
{
    /// <summary>Reads until the span is full or the file ends.</summary>
    /// <returns>Bytes read.</returns>
    public static int ReadUpTo(SafeFileHandle file, long offset, Span<byte> destination)
    {
        int total = 0;
        while (total < destination.Length)
        {
            int got = RandomAccess.Read(file, destination[total..], offset + total);
            if (got == 0)
                break;
            total += got;
        }
        return total;
    }

    /// <summary>Fills the span.</summary>
    /// <exception cref="InvalidDataException">The file ends before.</exception>
    public static void ReadExactly(SafeFileHandle file, string path, long offset, Span<byte> destination)
    {
        int got = ReadUpTo(file, offset, destination);
        if (got < destination.Length)
            throw new InvalidDataException($"{path}: ends at byte {offset + got}, expected {offset + destination.Length}; it was cut while being read");
    }
}
