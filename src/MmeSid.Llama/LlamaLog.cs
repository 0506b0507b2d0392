using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;

namespace MmeSid.Llama;

/// <summary>
/// What llama.cpp has to say, kept per thread in place of being printed: a failed call's own words for the message of its exception.
/// Loading, decoding and quantizing log from the thread that called.
/// </summary>
internal static class LlamaLog
{
    private const int kWarning = 3, kError = 4, kContinued = 5, kMostLetters = 1000;

    [ThreadStatic]
    private static StringBuilder? s_errors, s_warnings;

    [ThreadStatic]
    private static int s_level;

    /// <summary>Starts anew before a call.</summary>
    public static void Clear()
    {
        (s_errors ??= new StringBuilder()).Clear();
        (s_warnings ??= new StringBuilder()).Clear();
        s_level = 0;
    }

    /// <summary>The errors since then, else the warnings, in one line.</summary>
    public static string Text()
    {
        string text = s_errors is { Length: > 0 } errors ? errors.ToString() : s_warnings?.ToString() ?? "";
        text = string.Join("; ", text.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries).Distinct());
        return text.Length == 0 ? "no reason was given" : text.TrimEnd('.');
    }

    public static unsafe void Install() => LlamaNative.llama_log_set(&Receive, 0);

    /// <summary>A piece of text at a level, from whichever loader.</summary>
    public static void Receive(int level, string? text)
    {
        if (level != kContinued)
            s_level = level;
        StringBuilder? target = s_level switch
        {
            kError => s_errors,
            kWarning => s_warnings,
            _ => null,
        };
        if (text is not null && target is not null && target.Length < kMostLetters)
            target.Append(text.Length <= kMostLetters ? text : text[..kMostLetters]);
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static void Receive(int level, nint text, nint data) => Receive(level, Marshal.PtrToStringUTF8(text));
}
