using System.Reflection;
using System.Text.RegularExpressions;

namespace MmeSid.Kernels.Cuda.Tests;

/// <summary>The kernels as text: what the driver is given.</summary>
public sealed partial class PtxTests
{
    private static readonly Assembly s_assembly = typeof(CudaBackend).Assembly;

    public static TheoryData<string> Files() => [.. s_assembly.GetManifestResourceNames().Where(name => name.EndsWith(".ptx", StringComparison.Ordinal)).Order(StringComparer.Ordinal)];

    [Fact]
    public void Every_source_is_compiled_and_embedded()
    {
        SoftCuda.Require();
        Assert.Contains("screen_float16.ptx", s_assembly.GetManifestResourceNames());
    }

    [Theory(SkipTestWithoutData = true), MemberData(nameof(Files))]
    public void Nothing_is_called_that_is_not_there_and_nothing_lives_in_local_memory(string file)
    {
        string ptx = Read(file);
        Assert.DoesNotContain(".extern .func", ptx, StringComparison.Ordinal);
        Assert.DoesNotContain(".local ", ptx, StringComparison.Ordinal);
    }

    [Theory(SkipTestWithoutData = true), MemberData(nameof(Files))]
    public void Every_entry_is_found_by_its_name(string file)
    {
        SoftCuda.Require();
        CudaDevice device = CudaDevice.Open();
        foreach (Match entry in Entry().Matches(Read(file)))
            Assert.NotEqual(0, device.Function(Path.GetFileNameWithoutExtension(file), entry.Groups[1].Value));
    }

    public static TheoryData<string> ScreenNames() => [.. Screen.All.Select(screen => screen.Name)];

    /// <summary>The PTX of a screen needs no local memory; whether it still fits the registers, the driver says that has compiled it. softcuda says yes.</summary>
    [Theory, MemberData(nameof(ScreenNames))]
    public void A_screen_spills_no_registers(string name)
    {
        SoftCuda.Require();
        CudaDevice device = CudaDevice.Open();
        Screen screen = Screen.Named(name);
        Assert.SkipUnless(screen.Fits(device), $"{device.Name} cannot run {name}");
        CudaKernel kernel = device.Kernel(screen.File, screen.Name, Screen.kThreads, screen.SharedBytes);
        Assert.Equal(0, kernel.LocalBytes);
        Assert.InRange(kernel.Registers, SoftCuda.IsLoaded ? 0 : 1, 255);
    }

    private static string Read(string file)
    {
        using var reader = new StreamReader(s_assembly.GetManifestResourceStream(file)!);
        return reader.ReadToEnd();
    }

    [GeneratedRegex(@"\.entry (\w+)\(")]
    private static partial Regex Entry();
}
