using System.Runtime.Intrinsics.X86;

namespace MmeSid.Kernels.Tests;

/// <summary>The Test target runs this project again with instruction sets switched off; this proves that the switches it uses act.</summary>
public class InstructionSetTests
{
    [Fact]
    public void InstructionSetsThatAreSwitchedOffAreOff()
    {
        if (IsSwitchedOff("DOTNET_EnableAVX512"))
        {
            Assert.False(Avx512F.IsSupported);
            Assert.False(Avx512BW.IsSupported);
        }
        if (IsSwitchedOff("DOTNET_EnableAVX2"))
        {
            Assert.False(Avx2.IsSupported);
            Assert.False(Fma.IsSupported);
            Assert.False(Avx512F.IsSupported);
        }
    }

    private static bool IsSwitchedOff(string name) => Environment.GetEnvironmentVariable(name) is "0";
}
