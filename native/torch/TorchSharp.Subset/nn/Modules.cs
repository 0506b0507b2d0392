using System.Collections;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace TorchSharp
{
    namespace Modules
    {
        /// <summary>x Wᵀ + b, with W [outputs, inputs] and b uniform within ±1/√inputs at first.</summary>
        public sealed class Linear : nn.Module<Tensor, Tensor>
        {
            internal Linear(long inputSize, long outputSize, bool hasBias, Device? device, ScalarType? dtype)
                : base(nameof(Linear))
            {
                in_features = inputSize;
                out_features = outputSize;
                weight = new Parameter(empty(outputSize, inputSize, dtype, device).DetachFromDisposeScope());
                nn.init.kaiming_uniform_(weight, a: Math.Sqrt(5));
                if (hasBias)
                {
                    bias = new Parameter(empty(outputSize, dtype, device).DetachFromDisposeScope());
                    double bound = inputSize > 0 ? 1 / Math.Sqrt(inputSize) : 0;
                    nn.init.uniform_(bias, -bound, bound);
                }
            }

            public Parameter weight { get => Own(nameof(weight))!; set => SetOwn(nameof(weight), value); }

            public Parameter? bias { get => Own(nameof(bias)); set => SetOwn(nameof(bias), value); }

            public long in_features { get; }

            public long out_features { get; }

            public override Tensor forward(Tensor input) => nn.functional.linear(input, weight, bias);
        }

        /// <summary>Rows of a table, normally distributed at first; the row of the padding index is zero and learns nothing.</summary>
        public sealed class Embedding : nn.Module<Tensor, Tensor>
        {
            private readonly long _padding;
            private readonly bool _sparse;

            internal Embedding(Tensor table, bool trained, long? padding, bool sparse)
                : base(nameof(Embedding))
            {
                _padding = padding is { } index && index < 0 ? index + table.shape[0] : padding ?? -1;
                _sparse = sparse;
                weight = new Parameter(table.DetachFromDisposeScope(), trained);
            }

            public Parameter? weight { get => Own(nameof(weight)); set => SetOwn(nameof(weight), value); }

            public override Tensor forward(Tensor input) => Interop.Aten.Call("embedding", weight, input, _padding, false, _sparse);
        }

        /// <summary>Mean 0 and variance 1 over the last dimensions, then scaled and shifted by learned vectors.</summary>
        public sealed class LayerNorm : nn.Module<Tensor, Tensor>
        {
            internal LayerNorm(long[] shape, double eps, bool elementwiseAffine, bool bias, Device? device, ScalarType? dtype)
                : base(nameof(LayerNorm))
            {
                normalized_shape = shape;
                this.eps = eps;
                if (!elementwiseAffine)
                    return;
                weight = new Parameter(ones(shape, dtype, device).DetachFromDisposeScope());
                if (bias)
                    this.bias = new Parameter(zeros(shape, dtype, device).DetachFromDisposeScope());
            }

            public Parameter? weight { get => Own(nameof(weight)); set => SetOwn(nameof(weight), value); }

            public Parameter? bias { get => Own(nameof(bias)); set => SetOwn(nameof(bias), value); }

            public long[] normalized_shape { get; }

            public double eps { get; }

            public override Tensor forward(Tensor input) => nn.functional.layer_norm(input, normalized_shape, weight, bias, eps);
        }

        /// <summary>While training, zeroes each value with probability p and scales the others by 1/(1 − p).</summary>
        public sealed class Dropout : nn.Module<Tensor, Tensor>
        {
            internal Dropout(double p)
                : base(nameof(Dropout)) => this.p = p;

            public double p { get; set; }

            public override Tensor forward(Tensor input) => nn.functional.dropout(input, p, training);
        }

        public sealed class ReLU() : nn.Module<Tensor, Tensor>(nameof(ReLU))
        {
            public override Tensor forward(Tensor input) => input.relu();
        }

        public sealed class SiLU() : nn.Module<Tensor, Tensor>(nameof(SiLU))
        {
            public override Tensor forward(Tensor input) => input.silu();
        }

        public sealed class Sigmoid() : nn.Module<Tensor, Tensor>(nameof(Sigmoid))
        {
            public override Tensor forward(Tensor input) => input.sigmoid();
        }

        public sealed class Tanh() : nn.Module<Tensor, Tensor>(nameof(Tanh))
        {
            public override Tensor forward(Tensor input) => input.tanh();
        }

        /// <summary>x Φ(x).</summary>
        public sealed class GELU : nn.Module<Tensor, Tensor>
        {
            internal GELU(Approximate approximate)
                : base(nameof(GELU)) => this.approximate = approximate;

            public enum Approximate
            {
                none,
                tanh,
            }

            public Approximate approximate { get; set; }

            public override Tensor forward(Tensor input) => input.gelu(approximate);
        }

        /// <summary>Modules one after the other, named by their places or by the caller. Disposes what flows between them.</summary>
        public class Sequential : nn.Module<Tensor, Tensor>, IEnumerable<nn.Module<Tensor, Tensor>>
        {
            private readonly List<nn.Module<Tensor, Tensor>> _modules = [];

            internal Sequential(IEnumerable<(string Name, nn.Module<Tensor, Tensor> Module)> modules)
                : base(nameof(Sequential))
            {
                foreach ((string name, nn.Module<Tensor, Tensor> module) in modules)
                    append(name, module);
            }

            public int Count => _modules.Count;

            public nn.IModule<Tensor, Tensor> this[int index] => _modules[index];

            public Sequential append(string name, nn.Module<Tensor, Tensor> module)
            {
                register_module(name, module);
                _modules.Add(module);
                return this;
            }

            public Sequential append(nn.Module<Tensor, Tensor> module) => append($"{_modules.Count}", module);

            public override Tensor forward(Tensor input)
            {
                Tensor current = input.alias();
                foreach (nn.Module<Tensor, Tensor> module in _modules)
                {
                    Tensor next = module.call(current);
                    if (!ReferenceEquals(next, current))
                        current.Dispose();
                    current = next;
                }
                return current;
            }

            public IEnumerator<nn.Module<Tensor, Tensor>> GetEnumerator() => _modules.GetEnumerator();

            IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();
        }

        /// <summary>A list of modules, named by their places when the list is registered.</summary>
        public class ModuleList<T> : nn.Module, IReadOnlyList<T>
            where T : nn.Module
        {
            private readonly List<T> _modules;
            private bool _registered;

            public ModuleList(params T[] modules)
                : base("ModuleList") => _modules = [.. modules];

            public int Count => _modules.Count;

            public T this[int index] => _modules[index];

            public void Add(T item) => _modules.Add(item);

            public void append(params T[] parameters) => _modules.AddRange(parameters);

            public IEnumerator<T> GetEnumerator() => _modules.GetEnumerator();

            IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();

            protected internal override void RegisterComponents()
            {
                if (_registered)
                    return;
                _registered = true;
                for (int i = 0; i < _modules.Count; i++)
                    register_module($"{i}", _modules[i]);
            }
        }
    }

    public static partial class torch
    {
        public static partial class nn
        {
            public static Linear Linear(long inputSize, long outputSize, bool hasBias = true, Device? device = null, ScalarType? dtype = null) => new(inputSize, outputSize, hasBias, device, dtype);

            public static Embedding Embedding(long num_embeddings, long embedding_dims, long? padding_idx = null, bool sparse = false, Device? device = null, ScalarType? dtype = null)
            {
                Tensor table = randn(num_embeddings, embedding_dims, dtype, device);
                if (padding_idx is { } padding)
                {
                    using Tensor row = table.select(0, padding);
                    row.zero_();
                }
                return new(table, true, padding_idx, sparse);
            }

            public static Embedding Embedding_from_pretrained(Tensor embeddings, bool freeze = true, long? padding_idx = null, bool sparse = false) => new(embeddings.alias(), !freeze, padding_idx, sparse);

            public static LayerNorm LayerNorm(long[] normalized_shape, double eps = 1e-05, bool elementwise_affine = true, bool bias = true, Device? device = null, ScalarType? dtype = null) => new(normalized_shape, eps, elementwise_affine, bias, device, dtype);

            public static LayerNorm LayerNorm(long normalized_shape, double eps = 1e-05, bool elementwise_affine = true, bool bias = true, Device? device = null, ScalarType? dtype = null) => new([normalized_shape], eps, elementwise_affine, bias, device, dtype);

            public static Dropout Dropout(double p = 0.5) => new(p);

            public static ReLU ReLU() => new();

            public static SiLU SiLU() => new();

            public static Sigmoid Sigmoid() => new();

            public static Tanh Tanh() => new();

            public static GELU GELU() => new(Modules.GELU.Approximate.none);

            public static GELU GELU(GELU.Approximate approximate) => new(approximate);

            public static Sequential Sequential(params Module<Tensor, Tensor>[] modules) => new(modules.Select((module, index) => ($"{index}", module)));

            public static Sequential Sequential(params (string name, Module<Tensor, Tensor> submodule)[] modules) => new(modules);

            public static Sequential Sequential(IEnumerable<Module<Tensor, Tensor>> modules) => new(modules.Select((module, index) => ($"{index}", module)));

            public static ModuleList<T> ModuleList<T>(params T[] modules)
                where T : Module
                => new(modules);
        }
    }
}
