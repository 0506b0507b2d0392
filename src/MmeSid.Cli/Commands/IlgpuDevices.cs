using MmeSid.Kernels;
#if HAS_ILGPU
using MmeSid.Kernels.Ilgpu;
#endif

namespace MmeSid.Cli.Commands;

/// <summary>The backend <c>ilgpu</c>, which is in this program where its package was on the feed that it was built from.</summary>
internal static class IlgpuDevices
{
#if HAS_ILGPU
    /// <summary>Why the backend cannot be used here, in one line, or null where it can.</summary>
    public static string? UnavailableReason => IlgpuBackend.UnavailableReason;

    /// <summary>GPUs that it can open.</summary>
    public static int Count => IlgpuBackend.DeviceCount;

    /// <summary>Opens one of them.</summary>
    /// <exception cref="BackendUnavailableException">There is none, or this program lacks the backend.</exception>
    public static IBackend Create(int ordinal, int threads) => new IlgpuBackend(ordinal, threads);
#else
    /// <summary>Why the backend cannot be used here, in one line, or null where it can.</summary>
    public static string? UnavailableReason => "this build lacks it: the package ILGPU was not on the feed; the other backends carry the work";

    /// <summary>GPUs that it can open.</summary>
    public static int Count => 0;

    /// <summary>Opens one of them.</summary>
    /// <exception cref="BackendUnavailableException">There is none, or this program lacks the backend.</exception>
    public static IBackend Create(int ordinal, int threads) => throw new BackendUnavailableException($"ilgpu: {UnavailableReason}");
#endif
}
