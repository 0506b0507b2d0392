namespace MmeSid.Kernels;

/// <summary>A backend or native library cannot be used here. The message says which, why, and what to install or set.</summary>
public sealed class BackendUnavailableException(string message, Exception? inner = null) : Exception(message, inner);

/// <summary>A call into a native library failed.</summary>
public sealed class NativeException(string library, string call, int status, string text)
    : Exception($"{library}: {call} failed with status {status}: {text}")
{
    /// <summary>Library whose call failed.</summary>
    public string Library { get; } = library;

    /// <summary>Function that failed.</summary>
    public string Call { get; } = call;

    /// <summary>Status it returned.</summary>
    public int Status { get; } = status;
}
