using MmeSid.Engine.Files;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace MmeSid.Training.Optimization;

/// <summary>
/// All that a training run needs to go on bit for bit, in one <c>.safetensors</c> file: the module's parameters and buffers (<c>model.…</c>), the
/// optimizer's state per parameter (<c>optimizer.i.…</c>) and rates per group (<c>optimizer.rates</c>), the CPU's random generator (<c>random</c>), and the
/// parameters and buffers that have been best so far, where there are any (<c>best.…</c>).
/// </summary>
public static class ModelCheckpoint
{
    private const string kModel = "model.", kBest = "best.", kRates = "optimizer.rates", kRandom = "random";

    /// <summary>Writes the state; the file appears whole or not at all and replaces the one there.</summary>
    /// <param name="path">File to write.</param>
    /// <param name="module">What is trained.</param>
    /// <param name="optimizer">Adam, AdamW or SGD.</param>
    /// <param name="best">The best parameters and buffers so far by name, or null.</param>
    /// <param name="metadata">Free texts: the step, options, what the run was made from.</param>
    public static void Save(string path, nn.Module module, OptimizerHelper optimizer, IReadOnlyDictionary<string, Tensor>? best = null, IReadOnlyDictionary<string, string>? metadata = null)
    {
        ArgumentNullException.ThrowIfNull(module);
        ArgumentNullException.ThrowIfNull(optimizer);
        using DisposeScope scope = NewDisposeScope();
        var tensors = new List<(string, Tensor)>();
        foreach ((string name, Tensor tensor) in module.state_dict())
            tensors.Add((kModel + name, tensor));
        foreach ((string name, Tensor tensor) in best ?? new Dictionary<string, Tensor>())
            tensors.Add((kBest + name, tensor));
        List<OptimizerState> states = optimizer.state_dict().State;
        for (int i = 0; i < states.Count; i++)
            tensors.AddRange(Parts(states[i]).Select(part => ($"optimizer.{i}.{part.Name}", part.Tensor)));
        tensors.Add((kRates, tensor(optimizer.ParamGroups.Select(group => group.LearningRate).ToArray(), float64)));
        tensors.Add((kRandom, random.get_rng_state()));
        TensorFile.Save(path, tensors, metadata);
    }

    /// <summary>Reads a state into a module and an optimizer that were made as those of <see cref="Save"/> were.</summary>
    /// <param name="path">File to read.</param>
    /// <param name="module">Its parameters and buffers are written over.</param>
    /// <param name="optimizer">Likewise.</param>
    /// <param name="best">Takes the best parameters and buffers, in the caller's dispose scope; null where none are expected.</param>
    /// <returns>The free texts.</returns>
    /// <exception cref="InvalidDataException">The file is damaged, or of another model or optimizer.</exception>
    public static IReadOnlyDictionary<string, string> Load(string path, nn.Module module, OptimizerHelper optimizer, IDictionary<string, Tensor>? best = null)
    {
        ArgumentNullException.ThrowIfNull(module);
        ArgumentNullException.ThrowIfNull(optimizer);
        using DisposeScope scope = NewDisposeScope();
        using SafetensorsFile file = SafetensorsFile.Open(path);
        Dictionary<string, Tensor> tensors = TensorFile.Load(file);
        using (no_grad())
        {
            foreach ((string name, Tensor target) in module.state_dict())
                Copy(kModel + name, target);
            foreach ((int i, (OptimizerState state, Parameter parameter)) in optimizer.state_dict().State.Zip(optimizer.parameters()).Index())
                Restore(state, parameter, $"optimizer.{i}.");
        }
        double[] rates = Taken(kRates).data<double>().ToArray();
        optim.ILearningRateController[] groups = [.. optimizer.ParamGroups];
        if (rates.Length != groups.Length)
            throw new InvalidDataException($"{path}: holds {rates.Length} groups of parameters, the optimizer has {groups.Length}");
        for (int i = 0; i < groups.Length; i++)
            groups[i].LearningRate = rates[i];
        random.set_rng_state(Taken(kRandom));
        foreach (string name in tensors.Keys.Where(name => best is not null && name.StartsWith(kBest, StringComparison.Ordinal)).ToArray())
            best!.Add(name[kBest.Length..], Taken(name).MoveToOuterDisposeScope());
        if (tensors.Count > 0)
            throw new InvalidDataException($"{path}: holds {tensors.Keys.Order(StringComparer.Ordinal).First()}, which the model and its optimizer have not");
        return file.Metadata;

        Tensor Taken(string name) => tensors.Remove(name, out Tensor? tensor) ? tensor : throw new InvalidDataException($"{path}: has no tensor {name}");

        void Copy(string name, Tensor target) => TensorFile.Take(path, tensors, name, target);

        void Restore(OptimizerState state, Parameter parameter, string prefix)
        {
            switch (state)
            {
                case Adam.State adam:
                    adam.step = Taken(prefix + "step").item<long>();
                    break;
                case AdamW.State adamW:
                    adamW.step = Taken(prefix + "step").item<long>();
                    break;
                case SGD.State { momentum_buffer: null } sgd when tensors.ContainsKey(prefix + "momentum_buffer"):
                    sgd.momentum_buffer = Taken(prefix + "momentum_buffer").to(parameter.device).DetachFromDisposeScope();
                    return;
            }
            foreach ((string name, Tensor target) in Parts(state).Where(part => part.Name != "step"))
                Copy(prefix + name, target);
        }
    }

    /// <summary>Reads the free texts alone.</summary>
    /// <exception cref="InvalidDataException">The file is damaged.</exception>
    public static IReadOnlyDictionary<string, string> ReadMetadata(string path)
    {
        using SafetensorsFile file = SafetensorsFile.Open(path);
        return file.Metadata;
    }

    private static (string Name, Tensor Tensor)[] Parts(OptimizerState state) => state switch
    {
        Adam.State adam => AdamParts(adam.step, adam.exp_avg, adam.exp_avg_sq, adam.max_exp_avg_sq),
        AdamW.State adamW => AdamParts(adamW.step, adamW.exp_avg, adamW.exp_avg_sq, adamW.max_exp_avg_sq),
        SGD.State sgd => sgd.momentum_buffer is null ? [] : [("momentum_buffer", sgd.momentum_buffer)],
        _ => throw new ArgumentException($"the state of a {state.GetType().DeclaringType?.Name} cannot be kept, expected Adam, AdamW or SGD"),
    };

    private static (string Name, Tensor Tensor)[] AdamParts(long step, Tensor first, Tensor second, Tensor? largest)
    {
        (string, Tensor)[] parts = [("step", tensor(step)), ("exp_avg", first), ("exp_avg_sq", second)];
        return largest is null ? parts : [.. parts, ("max_exp_avg_sq", largest)];
    }
}
