using TorchSharp.Interop;

namespace TorchSharp;

public static partial class torch
{
    public static IDisposable no_grad() => new AutoGradMode(false);

    public static IDisposable enable_grad(bool enabled = true) => new AutoGradMode(enabled);

    public static IDisposable set_grad_enabled(bool mode = true) => new AutoGradMode(mode);

    public static bool is_grad_enabled() => Shim.mmesid_torch_grad_mode() != 0;

    public static IDisposable inference_mode(bool mode = true) => new InferenceMode(mode);

    public static bool is_inference_mode_enabled() => Shim.mmesid_torch_inference_mode() != 0;

    /// <summary>Whether the thread records what gradients need, set until disposed.</summary>
    private sealed class AutoGradMode : IDisposable
    {
        private readonly bool _before = is_grad_enabled();

        public AutoGradMode(bool enabled) => Shim.mmesid_torch_set_grad_mode(enabled ? 1 : 0);

        public void Dispose() => Shim.mmesid_torch_set_grad_mode(_before ? 1 : 0);
    }

    /// <summary>libtorch's guard of the thread that made this; the same thread disposes it.</summary>
    private sealed class InferenceMode : IDisposable
    {
        private nint _guard;

        public InferenceMode(bool mode) => Shim.Check(Shim.mmesid_torch_inference_enter(mode ? 1 : 0, out _guard));

        public void Dispose() => Shim.mmesid_torch_inference_leave(Interlocked.Exchange(ref _guard, 0));
    }

    /// <summary>Gradients of graphs.</summary>
    public static class autograd
    {
        /// <summary>Sums of the gradients of outputs with respect to inputs; null where an input that may be unused is.</summary>
        public static unsafe IList<Tensor> grad(IList<Tensor> outputs, IList<Tensor> inputs, IList<Tensor>? grad_outputs = null, bool retain_graph = false, bool create_graph = false, bool allow_unused = false)
        {
            nint[] results = new nint[inputs.Count];
            using (var held = new HeldTensors())
            {
                fixed (nint* roots = held.Add(outputs), weights = held.Add(grad_outputs), leaves = held.Add(inputs), found = results)
                    Check(Shim.mmesid_torch_grad(roots, weights, outputs.Count, leaves, inputs.Count, retain_graph || create_graph ? 1 : 0, create_graph ? 1 : 0, allow_unused ? 1 : 0, found), outputs);
            }
            return [.. results.Select(result => result == 0 ? null! : new Tensor(result))];
        }

        /// <summary>Adds the gradients of tensors to <c>grad</c> of the leaves, or of <paramref name="inputs"/> alone.</summary>
        public static unsafe void backward(IList<Tensor> tensors, IList<Tensor>? grad_tensors = null, bool? retain_graph = null, bool create_graph = false, IList<Tensor>? inputs = null)
        {
            using var held = new HeldTensors();
            fixed (nint* roots = held.Add(tensors), weights = held.Add(grad_tensors), leaves = held.Add(inputs))
                Check(Shim.mmesid_torch_backward(roots, weights, tensors.Count, leaves, inputs?.Count ?? 0, (retain_graph ?? create_graph) ? 1 : 0, create_graph ? 1 : 0), tensors);
        }

        private static void Check(int status, IList<Tensor> outputs)
        {
            if (status != 0)
                throw Shim.Failure($"{Shim.LastError.TrimEnd()} (gradients of {string.Join(", ", outputs.Select(output => $"{output.dtype} [{string.Join(", ", output.shape)}]"))})");
        }

        /// <summary>Lists of tensors in native form, kept alive until disposed. An absent list is an empty array, which pins as null.</summary>
        private sealed class HeldTensors : IDisposable
        {
            private readonly HeldHandles _held = new();

            public nint[] Add(IList<Tensor>? tensors) => tensors is null ? [] : [.. tensors.Select(tensor => _held.Add(tensor.Handle))];

            public void Dispose() => _held.Release();
        }
    }
}
