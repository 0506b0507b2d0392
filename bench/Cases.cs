namespace MmeSid.Bench;

/// <summary>The inputs that drive the tests and the benches of every backend.</summary>
public static partial class Cases
{
}
