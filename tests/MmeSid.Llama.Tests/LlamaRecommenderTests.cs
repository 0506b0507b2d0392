using MmeSid.Engine.Generation;

namespace MmeSid.Llama.Tests;

/// <summary>The recommenders through the own binding.</summary>
public sealed class LlamaRecommenderTests : RecommenderContract
{
    protected override string? UnavailableReason => LlamaLibrary.UnavailableReason;

    protected override ILanguageModel Load(string path) => LlamaModel.Load(path);
}
