using MmeSid.Engine.Generation;
using MmeSid.Llama.Tests;

namespace MmeSid.Llama.LLamaSharp.Tests;

/// <summary>The contract, run through the package.</summary>
public sealed class LLamaSharpModelTests : LanguageModelContract
{
    protected override string? UnavailableReason => LLamaSharpLibrary.UnavailableReason;

    protected override ILanguageModel Load(string path, LlamaModelOptions? options = null) => LLamaSharpModel.Load(path, options);
}
