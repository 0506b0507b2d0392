using System.Text.Json.Nodes;
using MmeSid.Engine.Files;
using MmeSid.Engine.Generation;
using TorchSharp;
using static TorchSharp.torch;

namespace MmeSid.Training.LanguageModels;

/// <summary>Low-rank updates as files: a GGUF adapter for llama.cpp, and the folder form of Hugging Face PEFT.</summary>
public static class LoraFiles
{
    /// <summary>PEFT's weights.</summary>
    public const string WeightsName = "adapter_model.safetensors";

    /// <summary>PEFT's description.</summary>
    public const string ConfigName = "adapter_config.json";

    /// <summary>Writes all three.</summary>
    /// <param name="model">With updates.</param>
    /// <param name="folder">Where to.</param>
    /// <param name="options">Those it was made with.</param>
    /// <param name="baseName">What PEFT shall call the model that is updated.</param>
    /// <returns>Names of the files.</returns>
    public static IReadOnlyList<string> WriteAdapter(this Llama model, string folder, LoraOptions options, string baseName)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(options);
        using DisposeScope scope = NewDisposeScope();
        using IDisposable frozen = no_grad();
        using (FileStream stream = File.Create(Path.Combine(folder, LanguageModelFiles.AdapterName)))
            GgufLora.Write(stream, LlamaShape.Architecture, (float)options.Alpha, [.. model.Updates.Select(update => new LoraUpdate(update.Name, Values(update.A), Values(update.B), options.Rank))]);
        TensorFile.Save(Path.Combine(folder, WeightsName), model.Updates.SelectMany(update => ((string, Tensor)[])
        [
            (PeftName(update.Name, "A"), update.A), (PeftName(update.Name, "B"), InHuggingFaceOrder(update, model.Shape.HeadSize)),
        ]));
        File.WriteAllText(Path.Combine(folder, ConfigName), new JsonObject
        {
            ["peft_type"] = "LORA",
            ["task_type"] = "CAUSAL_LM",
            ["base_model_name_or_path"] = baseName,
            ["r"] = options.Rank,
            ["lora_alpha"] = options.Alpha,
            ["lora_dropout"] = options.Dropout,
            ["bias"] = "none",
            ["target_modules"] = new JsonArray([.. options.Targets.Select(target => JsonValue.Create(Module(target).Split('.')[^1]))]),
        }.ToJsonString(new() { WriteIndented = true, NewLine = "\n" }) + "\n");
        return [LanguageModelFiles.AdapterName, WeightsName, ConfigName];

        static float[] Values(Tensor tensor) => tensor.detach().to(float32).cpu().contiguous().data<float>().ToArray();
    }

    private static string Module(string target) => target switch
    {
        "gate" or "up" or "down" => $"mlp.{target}_proj",
        "output" => "self_attn.o_proj",
        _ => $"self_attn.{target}_proj",
    };

    private static string PeftName(string tensor, string matrix)
    {
        // blk.3.ffn_gate.weight
        string[] parts = tensor.Split('.');
        return $"base_model.model.model.layers.{parts[1]}.{Module(parts[2][(parts[2].IndexOf('_', StringComparison.Ordinal) + 1)..])}.lora_{matrix}.weight";
    }

    /// <summary>Rows of queries and keys where Hugging Face has them, which rotates pairs (i, i + s/2) of a head: row j·s/2 + i from row 2i + j.</summary>
    private static Tensor InHuggingFaceOrder(LowRankUpdate update, int headSize) =>
        update.Name.EndsWith("attn_q.weight", StringComparison.Ordinal) || update.Name.EndsWith("attn_k.weight", StringComparison.Ordinal)
            ? update.B.view(-1, headSize / 2, 2, update.B.shape[1]).transpose(1, 2).reshape(update.B.shape)
            : update.B;
}
