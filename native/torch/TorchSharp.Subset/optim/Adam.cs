using TorchSharp.Modules;
using static TorchSharp.torch;

namespace TorchSharp
{
    public static partial class torch
    {
        public static partial class optim
        {
            public static Adam Adam(IEnumerable<Parameter> parameters, double lr = 1e-3, double beta1 = 0.9, double beta2 = 0.999, double eps = 1e-8, double weight_decay = 0, bool amsgrad = false, bool maximize = false)
                => new([new() { Parameters = parameters }], lr, beta1, beta2, eps, weight_decay, amsgrad, maximize);

            public static Adam Adam(IEnumerable<Adam.ParamGroup> parameters, double lr = 1e-3, double beta1 = 0.9, double beta2 = 0.999, double eps = 1e-8, double weight_decay = 0, bool amsgrad = false, bool maximize = false)
                => new(parameters, lr, beta1, beta2, eps, weight_decay, amsgrad, maximize);

            public static AdamW AdamW(IEnumerable<Parameter> parameters, double lr = 1e-3, double beta1 = 0.9, double beta2 = 0.999, double eps = 1e-8, double weight_decay = 0, bool amsgrad = false, bool maximize = false)
                => new([new() { Parameters = parameters }], lr, beta1, beta2, eps, weight_decay, amsgrad, maximize);

            public static AdamW AdamW(IEnumerable<AdamW.ParamGroup> parameters, double lr = 1e-3, double beta1 = 0.9, double beta2 = 0.999, double eps = 1e-8, double weight_decay = 0, bool amsgrad = false, bool maximize = false)
                => new(parameters, lr, beta1, beta2, eps, weight_decay, amsgrad, maximize);
        }
    }

    namespace Modules
    {
        /// <summary>
        /// m ← β₁m + (1 − β₁)g, v ← β₂v + (1 − β₂)g², θ ← θ − lr/(1 − β₁ᵗ) · m / (√v/√(1 − β₂ᵗ) + ε). Adam adds weight decay to the gradient,
        /// AdamW shrinks the parameter by 1 − lr·decay first. With amsgrad, the largest v so far takes the place of v.
        /// </summary>
        public abstract class AdamFamily : OptimizerHelper<AdamFamily.Options, AdamState>
        {
            private readonly Options _defaults;
            private readonly bool _decoupled;

            private protected AdamFamily(bool decoupled, IEnumerable<ParamGroup> groups, Options defaults)
            {
                if (defaults.LearningRate < 0 || defaults.eps < 0 || defaults.weight_decay < 0 || defaults.beta1 is < 0 or >= 1 || defaults.beta2 is < 0 or >= 1)
                    throw new ArgumentException($"lr {defaults.LearningRate}, eps {defaults.eps}, weight_decay {defaults.weight_decay}, betas {defaults.beta1} and {defaults.beta2}: expected none below 0 and betas below 1");
                _defaults = defaults;
                _decoupled = decoupled;
                foreach (ParamGroup group in groups)
                    add_param_group(group);
            }

            private protected override Options Completed(Options? options)
            {
                options ??= new();
                options.LearningRate ??= _defaults.LearningRate;
                options.beta1 ??= _defaults.beta1;
                options.beta2 ??= _defaults.beta2;
                options.eps ??= _defaults.eps;
                options.weight_decay ??= _defaults.weight_decay;
                options.amsgrad ??= _defaults.amsgrad;
                options.maximize ??= _defaults.maximize;
                return options;
            }

            private protected override void Update(Parameter parameter, Tensor grad, AdamState state, Options options)
            {
                double beta1 = options.beta1!.Value, beta2 = options.beta2!.Value, rate = options.LearningRate!.Value, decay = options.weight_decay!.Value;
                if (options.maximize!.Value)
                    grad = -grad;
                state.step++;
                if (_decoupled)
                    parameter.mul_(1 - (rate * decay));
                else if (decay != 0)
                    grad = grad.add(parameter, decay);
                state.exp_avg.mul_(beta1).add_(grad, 1 - beta1);
                state.exp_avg_sq.mul_(beta2).addcmul_(grad, grad, 1 - beta2);
                Tensor second = state.exp_avg_sq;
                if (state.max_exp_avg_sq is { } largest)
                    second = largest.copy_(maximum(largest, second));
                Tensor denominator = second.sqrt().div_(Math.Sqrt(1 - Math.Pow(beta2, state.step))).add_(options.eps!.Value);
                parameter.addcdiv_(state.exp_avg, denominator, -rate / (1 - Math.Pow(beta1, state.step)));
            }

            /// <summary>Of a group of parameters; those left out are the optimizer's.</summary>
            public class Options : OptimizerOptions
            {
                public double? beta1;
                public double? beta2;
                public double? weight_decay;
                public double? eps;
                public bool? amsgrad;
                public bool? maximize;
            }

            /// <summary>Parameters with options of their own.</summary>
            public class ParamGroup : ParamGroup<Options>
            {
                public ParamGroup()
                {
                }

                public ParamGroup(IEnumerable<Parameter> parameters, double lr = 1e-3, double beta1 = 0.9, double beta2 = 0.999, double eps = 1e-8, double weight_decay = 0, bool amsgrad = false, bool maximize = false)
                {
                    Parameters = parameters;
                    Options = new() { LearningRate = lr, beta1 = beta1, beta2 = beta2, eps = eps, weight_decay = weight_decay, amsgrad = amsgrad, maximize = maximize };
                }
            }
        }

        /// <summary>Steps taken and running means.</summary>
        public abstract class AdamState : OptimizerState
        {
            public long step;
            public Tensor exp_avg;
            public Tensor exp_avg_sq;
            public Tensor? max_exp_avg_sq;

            private protected AdamState(Parameter parameter, bool amsgrad)
            {
                exp_avg = zeros_like(parameter).DetachFromDisposeScope();
                exp_avg_sq = zeros_like(parameter).DetachFromDisposeScope();
                if (amsgrad)
                    max_exp_avg_sq = zeros_like(parameter).DetachFromDisposeScope();
            }

            protected override void Dispose(bool disposing)
            {
                exp_avg.Dispose();
                exp_avg_sq.Dispose();
                max_exp_avg_sq?.Dispose();
            }
        }

        /// <summary>Adam with weight decay in the gradient.</summary>
        public class Adam : AdamFamily
        {
            internal Adam(IEnumerable<ParamGroup> parameters, double lr, double beta1, double beta2, double eps, double weight_decay, bool amsgrad, bool maximize)
                : base(false, parameters, new() { LearningRate = lr, beta1 = beta1, beta2 = beta2, eps = eps, weight_decay = weight_decay, amsgrad = amsgrad, maximize = maximize })
            {
            }

            private protected override AdamState FirstState(Parameter parameter, Options options) => new State(parameter, options.amsgrad!.Value);

            /// <summary>Adam's.</summary>
            public sealed class State : AdamState
            {
                internal State(Parameter parameter, bool amsgrad)
                    : base(parameter, amsgrad)
                {
                }
            }
        }

        /// <summary>Adam with weight decay beside the gradient.</summary>
        public class AdamW : AdamFamily
        {
            internal AdamW(IEnumerable<ParamGroup> parameters, double lr, double beta1, double beta2, double eps, double weight_decay, bool amsgrad, bool maximize)
                : base(true, parameters, new() { LearningRate = lr, beta1 = beta1, beta2 = beta2, eps = eps, weight_decay = weight_decay, amsgrad = amsgrad, maximize = maximize })
            {
            }

            private protected override AdamState FirstState(Parameter parameter, Options options) => new State(parameter, options.amsgrad!.Value);

            /// <summary>AdamW's.</summary>
            public sealed class State : AdamState
            {
                internal State(Parameter parameter, bool amsgrad)
                    : base(parameter, amsgrad)
                {
                }
            }
        }
    }
}
