using TorchSharp.Modules;

namespace TorchSharp
{
    public static partial class torch
    {
        public static partial class optim
        {
            /// <summary>What a schedule changes.</summary>
            public interface ILearningRateController
            {
                double LearningRate { get; set; }

                double InitialLearningRate { get; set; }
            }

            /// <summary>Changes parameters by their gradients.</summary>
            public abstract class Optimizer : IDisposable
            {
                public abstract IEnumerable<ILearningRateController> ParamGroups { get; }

                /// <summary>One step; parameters without a gradient stay. The closure, where given, computes the loss first, with gradients.</summary>
                public abstract Tensor? step(Func<Tensor>? closure = null);

                public abstract void zero_grad();

                public abstract IEnumerable<Parameter> parameters();

                public void Dispose()
                {
                    Dispose(true);
                    GC.SuppressFinalize(this);
                }

                protected abstract void Dispose(bool disposing);

                /// <summary>The optimizer's own options per group and state per parameter, not copies of them.</summary>
                public class StateDictionary
                {
                    internal StateDictionary()
                    {
                    }

                    public List<OptimizerOptions> Options { get; } = [];

                    public List<OptimizerState> State { get; } = [];
                }
            }
        }
    }

    namespace Modules
    {
        /// <summary>Options of a group of parameters.</summary>
        public class OptimizerOptions
        {
            public double? LearningRate { get; set; }

            public double InitialLearningRate { get; set; }
        }

        /// <summary>What an optimizer remembers about one parameter.</summary>
        public abstract class OptimizerState : IDisposable
        {
            public void Dispose()
            {
                Dispose(true);
                GC.SuppressFinalize(this);
            }

            protected abstract void Dispose(bool disposing);
        }

        /// <summary>Parameters with options of their own.</summary>
        public class ParamGroup : torch.optim.ILearningRateController
        {
            public IEnumerable<Parameter> Parameters { get; set; } = [];

            public double LearningRate { get => AllOptions!.LearningRate!.Value; set => AllOptions!.LearningRate = value; }

            public double InitialLearningRate { get => AllOptions!.InitialLearningRate; set => AllOptions!.InitialLearningRate = value; }

            internal OptimizerOptions? AllOptions { get; set; }
        }

        /// <summary>Parameters with options of their own.</summary>
        public class ParamGroup<TOptions> : ParamGroup
            where TOptions : OptimizerOptions
        {
            public TOptions Options { get => (TOptions)AllOptions!; set => AllOptions = value; }
        }

        /// <summary>An optimizer of groups whose options and states can be read and written.</summary>
        public abstract class OptimizerHelper : torch.optim.Optimizer
        {
            private protected OptimizerHelper()
            {
            }

            public abstract void add_param_group(ParamGroup param_group);

            public abstract StateDictionary state_dict();
        }

        /// <summary>Groups of parameters, states per parameter, and the frame of a step.</summary>
        /// <typeparam name="TOptions">Options of a group.</typeparam>
        /// <typeparam name="TState">State of a parameter.</typeparam>
        public abstract class OptimizerHelper<TOptions, TState> : OptimizerHelper
            where TOptions : OptimizerOptions
            where TState : OptimizerState
        {
            private readonly List<(ParamGroup Group, Parameter[] Parameters)> _groups = [];
            private readonly Dictionary<Parameter, TState> _states = new(ReferenceEqualityComparer.Instance);

            private protected OptimizerHelper()
            {
            }

            public override IEnumerable<torch.optim.ILearningRateController> ParamGroups => _groups.Select(entry => entry.Group);

            public override IEnumerable<Parameter> parameters() => _groups.SelectMany(entry => entry.Parameters);

            public override void add_param_group(ParamGroup param_group)
            {
                ArgumentNullException.ThrowIfNull(param_group);
                TOptions options = Completed((TOptions?)param_group.AllOptions);
                options.InitialLearningRate = options.LearningRate!.Value;
                param_group.AllOptions = options;
                Parameter[] parameters = [.. param_group.Parameters];
                _groups.Add((param_group, parameters));
                foreach (Parameter parameter in parameters)
                    _states.Add(parameter, FirstState(parameter, options));
            }

            public override StateDictionary state_dict()
            {
                var dictionary = new StateDictionary();
                foreach ((ParamGroup group, Parameter[] parameters) in _groups)
                {
                    dictionary.Options.Add(group.AllOptions!);
                    dictionary.State.AddRange(parameters.Select(parameter => _states[parameter]));
                }
                return dictionary;
            }

            /// <summary>Gradients become zero; they do not go.</summary>
            public override void zero_grad()
            {
                foreach (Parameter parameter in parameters())
                {
                    using torch.Tensor? grad = parameter.grad;
                    grad?.zero_();
                }
            }

            public override torch.Tensor? step(Func<torch.Tensor>? closure = null)
            {
                torch.Tensor? loss = null;
                if (closure is not null)
                {
                    using (torch.enable_grad())
                        loss = closure();
                }
                using (torch.no_grad())
                {
                    foreach ((ParamGroup group, Parameter[] parameters) in _groups)
                    {
                        foreach (Parameter parameter in parameters)
                        {
                            using DisposeScope scope = torch.NewDisposeScope();
                            if (parameter.grad is { } grad)
                                Update(parameter, grad, _states[parameter], (TOptions)group.AllOptions!);
                        }
                    }
                }
                return loss;
            }

            /// <summary>The options with those of the optimizer where none are given.</summary>
            private protected abstract TOptions Completed(TOptions? options);

            private protected abstract TState FirstState(Parameter parameter, TOptions options);

            /// <summary>One step of one parameter, without gradients, in a dispose scope.</summary>
            private protected abstract void Update(Parameter parameter, torch.Tensor grad, TState state, TOptions options);

            protected override void Dispose(bool disposing)
            {
                if (!disposing)
                    return;
                foreach (TState state in _states.Values)
                    state.Dispose();
                _states.Clear();
                _groups.Clear();
            }
        }
    }
}
