using TorchSharp.Modules;
using static TorchSharp.torch;

namespace TorchSharp
{
    public static partial class torch
    {
        public static partial class optim
        {
            public static SGD SGD(IEnumerable<Parameter> parameters, double learningRate, double momentum = 0, double dampening = 0, double weight_decay = 0, bool nesterov = false, bool maximize = false)
                => new([new() { Parameters = parameters }], learningRate, momentum, dampening, weight_decay, nesterov, maximize);

            public static SGD SGD(IEnumerable<SGD.ParamGroup> parameters, double learningRate, double momentum = 0, double dampening = 0, double weight_decay = 0, bool nesterov = false, bool maximize = false)
                => new(parameters, learningRate, momentum, dampening, weight_decay, nesterov, maximize);
        }
    }

    namespace Modules
    {
        /// <summary>b ← μb + (1 − dampening)g (b = g at first), θ ← θ − lr·b; Nesterov's takes g + μb.</summary>
        public class SGD : OptimizerHelper<SGD.Options, SGD.State>
        {
            private readonly Options _defaults;

            internal SGD(IEnumerable<ParamGroup> parameters, double lr, double momentum, double dampening, double weight_decay, bool nesterov, bool maximize)
            {
                if (lr < 0 || momentum < 0 || weight_decay < 0)
                    throw new ArgumentException($"lr {lr}, momentum {momentum}, weight_decay {weight_decay}: expected none below 0");
                if (nesterov && (momentum == 0 || dampening != 0))
                    throw new ArgumentException($"Nesterov's momentum with momentum {momentum} and dampening {dampening}, expected momentum above 0 and no dampening");
                _defaults = new() { LearningRate = lr, momentum = momentum, dampening = dampening, weight_decay = weight_decay, nesterov = nesterov, maximize = maximize };
                foreach (ParamGroup group in parameters)
                    add_param_group(group);
            }

            private protected override Options Completed(Options? options)
            {
                options ??= new();
                options.LearningRate ??= _defaults.LearningRate;
                options.momentum ??= _defaults.momentum;
                options.dampening ??= _defaults.dampening;
                options.weight_decay ??= _defaults.weight_decay;
                options.nesterov ??= _defaults.nesterov;
                options.maximize ??= _defaults.maximize;
                return options;
            }

            private protected override State FirstState(Parameter parameter, Options options) => new();

            private protected override void Update(Parameter parameter, Tensor grad, State state, Options options)
            {
                double momentum = options.momentum!.Value, decay = options.weight_decay!.Value, rate = options.LearningRate!.Value;
                if (decay != 0)
                    grad = grad.add(parameter, decay);
                if (momentum != 0)
                {
                    if (state.momentum_buffer is { } buffer)
                        buffer.mul_(momentum).add_(grad, 1 - options.dampening!.Value);
                    else
                        state.momentum_buffer = grad.clone().DetachFromDisposeScope();
                    grad = options.nesterov!.Value ? grad.add(state.momentum_buffer, momentum) : state.momentum_buffer;
                }
                parameter.add_(grad, options.maximize!.Value ? rate : -rate);
            }

            /// <summary>Of a group of parameters; those left out are the optimizer's.</summary>
            public class Options : OptimizerOptions
            {
                public double? momentum;
                public double? dampening;
                public double? weight_decay;
                public bool? nesterov;
                public bool? maximize;
            }

            /// <summary>The running direction; none before the first step.</summary>
            public sealed class State : OptimizerState
            {
                public Tensor? momentum_buffer;

                protected override void Dispose(bool disposing) => momentum_buffer?.Dispose();
            }

            /// <summary>Parameters with options of their own.</summary>
            public class ParamGroup : ParamGroup<Options>
            {
                public ParamGroup()
                {
                }

                public ParamGroup(IEnumerable<Parameter> parameters, double lr = 1e-3, double momentum = 0, double dampening = 0, double weight_decay = 0, bool nesterov = false, bool maximize = false)
                {
                    Parameters = parameters;
                    Options = new() { LearningRate = lr, momentum = momentum, dampening = dampening, weight_decay = weight_decay, nesterov = nesterov, maximize = maximize };
                }
            }
        }
    }
}
