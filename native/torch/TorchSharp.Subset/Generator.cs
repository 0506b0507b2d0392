using TorchSharp.Interop;

namespace TorchSharp;

public static partial class torch
{
    public static Generator manual_seed(long seed) => random.manual_seed(seed);

    public static Tensor get_rng_state() => random.get_rng_state();

    public static void set_rng_state(Tensor new_state) => random.set_rng_state(new_state);

    /// <summary>The default generator.</summary>
    public static class random
    {
        /// <summary>Seeds the default generators of all devices.</summary>
        public static Generator manual_seed(long seed)
        {
            Shim.Check(Shim.mmesid_torch_seed_all((ulong)seed));
            return Generator.Default;
        }

        public static Tensor get_rng_state()
        {
            using Generator generator = Generator.Default;
            return generator.get_state();
        }

        public static void set_rng_state(Tensor new_state)
        {
            using Generator generator = Generator.Default;
            generator.set_state(new_state);
        }
    }

    /// <summary>A source of random numbers. The same seed gives the same numbers on the same device with the same libtorch.</summary>
    public class Generator : IDisposable
    {
        public Generator(ulong seed = 0, Device? device = null)
            : this(device ?? CPU, isDefault: false) => manual_seed((long)seed);

        private Generator(Device device, bool isDefault)
        {
            this.device = device;
            Shim.Check(Shim.mmesid_torch_generator((int)device.type, device.index, isDefault ? 1 : 0, out GeneratorHandle handle));
            Handle = handle;
        }

        public static Generator Default => new(CPU, isDefault: true);

        public Device device { get; }

        internal GeneratorHandle Handle { get; }

        public Generator manual_seed(long seed)
        {
            Shim.Check(Shim.mmesid_torch_generator_seed(Handle, (ulong)seed));
            return this;
        }

        public long initial_seed()
        {
            Shim.Check(Shim.mmesid_torch_generator_initial_seed(Handle, out ulong seed));
            return (long)seed;
        }

        public Tensor get_state()
        {
            Shim.Check(Shim.mmesid_torch_generator_state(Handle, out TensorHandle state));
            return new Tensor(state);
        }

        public void set_state(Tensor value) => Shim.Check(Shim.mmesid_torch_generator_set_state(Handle, value.Handle));

        public void Dispose()
        {
            Handle.Dispose();
            GC.SuppressFinalize(this);
        }
    }
}
