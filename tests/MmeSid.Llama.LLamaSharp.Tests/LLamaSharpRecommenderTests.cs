using MmeSid.Engine.Generation;
using MmeSid.Llama.Tests;

namespace MmeSid.Llama.LLamaSharp.Tests;

/// <summary>The recommenders through the package, and against the own binding.</summary>
public sealed class LLamaSharpRecommenderTests : RecommenderContract
{
    protected override string? UnavailableReason => LLamaSharpLibrary.UnavailableReason;

    protected override ILanguageModel Load(string path) => LLamaSharpModel.Load(path);

    /// <summary>The same calls of the same library: to the bit. The library that the package brings has kernels of another build.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Scores_are_those_of_the_own_binding(bool skipsUnseen)
    {
        Assert.SkipWhen(string.IsNullOrEmpty(Environment.GetEnvironmentVariable(LlamaLibrary.PathVariable)), $"both bindings run one library only where {LlamaLibrary.PathVariable} names it");
        Assert.SkipUnless(UnavailableReason is null, UnavailableReason ?? "");
        (double[][] searched, float[] scored) = Scores(Load, skipsUnseen);
        (double[][] ownSearched, float[] ownScored) = Scores(path => LlamaModel.Load(path), skipsUnseen);
        Assert.All(searched, scores => Assert.Equal(200, scores.Length));
        Assert.Equal(ownSearched, searched);
        Assert.Equal(ownScored, scored);
    }
}
