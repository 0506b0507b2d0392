namespace TorchSharp
{
    namespace Modules
    {
        /// <summary>A tensor that a module trains. Takes over the tensor it is made of, and its place in a dispose scope; that tensor is invalid afterwards.</summary>
        public class Parameter : torch.Tensor
        {
            public Parameter(torch.Tensor data, bool requires_grad = true)
                : base(data) => this.requires_grad = requires_grad;
        }
    }

    public static partial class torch
    {
        public static partial class nn
        {
            public static Modules.Parameter Parameter(Tensor data, bool requires_grad = true) => new(data, requires_grad);
        }
    }

    /// <summary>Conversions of tensors.</summary>
    public static class TensorExtensionMethods
    {
        public static Modules.Parameter AsParameter(this torch.Tensor tensor) => new(tensor);
    }
}
