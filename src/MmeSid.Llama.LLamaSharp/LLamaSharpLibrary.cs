using LLama.Exceptions;
using LLama.Native;
using MmeSid.Kernels;

namespace MmeSid.Llama.LLamaSharp;

/// <summary>
/// Starts the package's native library: the package's own (<c>LLamaSharp.Backend.Cpu</c>, or <c>.Cuda12</c> where there is a GPU), or the one that
/// <see cref="LlamaLibrary.PathVariable"/> names.
/// </summary>
public static class LLamaSharpLibrary
{
    private static readonly Lazy<string?> s_started = new(Start);

    /// <summary>Why the library cannot be used, in one line; null when it can.</summary>
    public static string? UnavailableReason => s_started.Value;

    /// <summary>Does nothing when the library can be used.</summary>
    /// <exception cref="BackendUnavailableException">It cannot; the message says why.</exception>
    public static void Require()
    {
        if (UnavailableReason is { } reason)
            throw new BackendUnavailableException(reason);
    }

    private static string? Start()
    {
        NativeLibraryConfig.LLama.WithLogCallback((level, message) => LlamaLog.Receive((int)level, message));
        if (!string.IsNullOrEmpty(Environment.GetEnvironmentVariable(LlamaLibrary.PathVariable)))
        {
            // The package loads no backends from such a folder; once loaded they serve whoever uses the same file.
            if (LlamaLibrary.UnavailableReason is { } reason)
                return reason;
            NativeLibraryConfig.LLama.WithLibrary(LlamaLibrary.FilePath);
        }
        try
        {
            NativeApi.llama_empty_call();
            return null;
        }
        catch (Exception problem) when (problem is TypeInitializationException or RuntimeError or DllNotFoundException)
        {
            // The package's text goes on with a list of what may have happened.
            string text = (problem is TypeInitializationException { InnerException: { } inner } ? inner : problem).Message.Split('.', '\n')[0].Trim();
            return $"LLamaSharp has no native library: {text}; add the package LLamaSharp.Backend.Cpu, or name a build of llama.cpp {LlamaLibrary.Release} in {LlamaLibrary.PathVariable}";
        }
    }
}
