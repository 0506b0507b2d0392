using TorchSharp.Interop;
using TorchSharp.Modules;

namespace TorchSharp;

public static partial class torch
{
    public static partial class nn
    {
        /// <summary>What is done to parameters between backward and a step.</summary>
        public static class utils
        {
            /// <summary>Scales all gradients by one factor so that their norm, taken over all of them together, is at most <paramref name="max_norm"/>.</summary>
            /// <returns>The norm before.</returns>
            public static double clip_grad_norm_(IEnumerable<Parameter> tensors, double max_norm, double norm_type = 2.0)
            {
                using (no_grad())
                using (NewDisposeScope())
                {
                    Tensor[] grads = [.. tensors.Select(parameter => parameter.grad).OfType<Tensor>()];
                    if (grads.Length == 0)
                        return 0;
                    Tensor[] norms = [.. grads.Select(grad => Aten.Call("norm.Scalar", grad, (Scalar)norm_type))];
                    double total = Aten.Call("norm.Scalar", stack(norms), (Scalar)norm_type).ToDouble();
                    // PyTorch's own guard against a norm of zero.
                    double factor = max_norm / (total + 1e-6);
                    if (factor < 1)
                    {
                        foreach (Tensor grad in grads)
                            grad.mul_(factor);
                    }
                    return total;
                }
            }
        }
    }
}
