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

    private static string Read(string file)
    {
        using var reader = new StreamReader(s_assembly.GetManifestResourceStream(file)!);
        return reader.ReadToEnd();
    }

    [GeneratedRegex(@"\.entry (\w+)\(")]
    private static partial Regex Entry();
}
