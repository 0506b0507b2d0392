using System.Runtime.InteropServices;

namespace MmeSid.Engine.Files;

/// <summary>Two folders change names in one step, so that at no time a name has no folder.</summary>
internal static partial class FolderExchange
{
    // AT_FDCWD and RENAME_EXCHANGE of Linux.
    private const int kCurrentFolder = -100;
    private const uint kExchange = 2;

    /// <summary>Exchanges them; false where the system or the file system cannot.</summary>
    public static bool TryExchange(string left, string right)
    {
        try
        {
            return OperatingSystem.IsLinux() && renameat2(kCurrentFolder, left, kCurrentFolder, right, kExchange) == 0;
        }
        catch (Exception problem) when (problem is EntryPointNotFoundException or DllNotFoundException)
        {
            return false;
        }
    }

    [LibraryImport("libc", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int renameat2(int leftFolder, string left, int rightFolder, string right, uint flags);
}
