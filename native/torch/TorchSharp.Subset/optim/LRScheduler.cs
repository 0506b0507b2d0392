namespace TorchSharp;

public static partial class torch
{
    public static partial class optim
    {
        /// <summary>Schedules of learning rates.</summary>
        public static class lr_scheduler
        {
            public static LRScheduler LambdaLR(Optimizer optimizer, Func<int, double> lr_lambda, int last_epoch = -1) => new impl.LambdaLR(optimizer, lr_lambda, last_epoch);

            public static LRScheduler CosineAnnealingLR(Optimizer optimizer, double T_max, double eta_min = 0, int last_epoch = -1) => new impl.CosineAnnealingLR(optimizer, T_max, eta_min, last_epoch);

            /// <summary>Sets the rates of an optimizer's groups, at once and with every step.</summary>
            public abstract class LRScheduler
            {
                private readonly Optimizer _optimizer;
                private readonly List<double> _firstRates;
                private List<double> _lastRates;
                private int _epoch;

                private protected LRScheduler(Optimizer optimizer, int last_epoch)
                {
                    ArgumentNullException.ThrowIfNull(optimizer);
                    _optimizer = optimizer;
                    _epoch = last_epoch;
                    _firstRates = [.. optimizer.ParamGroups.Select(group => group.InitialLearningRate)];
                    _lastRates = [.. optimizer.ParamGroups.Select(group => group.LearningRate)];
                }

                public IEnumerable<double> get_last_lr() => _lastRates;

                public void step()
                {
                    _epoch++;
                    ILearningRateController[] groups = [.. _optimizer.ParamGroups];
                    for (int i = 0; i < groups.Length; i++)
                        groups[i].LearningRate = Rate(_epoch, _firstRates[i], groups[i].LearningRate);
                    _lastRates = [.. groups.Select(group => group.LearningRate)];
                }

                /// <summary>The rate of a step, from the first and the last one.</summary>
                private protected abstract double Rate(int epoch, double first, double last);
            }

            /// <summary>The schedules.</summary>
            public static class impl
            {
                /// <summary>The first rate times a function of the step.</summary>
                public class LambdaLR : LRScheduler
                {
                    private readonly Func<int, double> _factor;

                    public LambdaLR(Optimizer optimizer, Func<int, double> lr_lambda, int last_epoch = -1)
                        : base(optimizer, last_epoch)
                    {
                        _factor = lr_lambda;
                        step();
                    }

                    private protected override double Rate(int epoch, double first, double last) => first * _factor(epoch);
                }

                /// <summary>Half a cosine from the first rate down to <c>eta_min</c> in <c>T_max</c> steps and up again, each rate from the one before as PyTorch computes it.</summary>
                public class CosineAnnealingLR : LRScheduler
                {
                    private readonly double _steps;
                    private readonly double _least;

                    public CosineAnnealingLR(Optimizer optimizer, double T_max, double eta_min = 0, int last_epoch = -1)
                        : base(optimizer, last_epoch)
                    {
                        _steps = T_max;
                        _least = eta_min;
                        step();
                    }

                    private protected override double Rate(int epoch, double first, double last)
                    {
                        if (epoch == 0)
                            return last;
                        if ((epoch - 1 - _steps) % (2 * _steps) == 0)
                            return last + ((first - _least) * (1 - Math.Cos(Math.PI / _steps)) / 2);
                        return ((1 + Math.Cos(Math.PI * epoch / _steps)) / (1 + Math.Cos(Math.PI * (epoch - 1) / _steps)) * (last - _least)) + _least;
                    }
                }
            }
        }
    }
}
