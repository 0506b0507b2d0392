using System.Globalization;
using TorchSharp.Interop;

namespace TorchSharp;

/// <summary>Kinds of devices, numbered as libtorch numbers them.</summary>
public enum DeviceType
{
    CPU = 0,
    CUDA = 1,
}

public static partial class torch
{
    public static readonly Device CPU = new(DeviceType.CPU);

    public static Device CUDA => device(DeviceType.CUDA);

    public static Device device(string description) => new(description);

    public static Device device(DeviceType deviceType, int index = -1) => new(deviceType, index);

    /// <summary>Loads libtorch; for CUDA, also asks whether it can use a GPU.</summary>
    /// <exception cref="NotSupportedException">There is no libtorch; the message says what to do.</exception>
    public static bool TryInitializeDeviceType(DeviceType deviceType)
    {
        ShimLibrary.Require();
        return deviceType == DeviceType.CPU || cuda.is_available();
    }

    /// <summary>Where a tensor lies.</summary>
    public class Device
    {
        public Device(string description)
        {
            ArgumentNullException.ThrowIfNull(description);
            string[] parts = description.Split(':');
            type = parts[0] switch
            {
                "cpu" => DeviceType.CPU,
                "cuda" => DeviceType.CUDA,
                _ => throw new ArgumentException($"'{description}' is no device, expected cpu, cuda or cuda:<number>", nameof(description)),
            };
            if (parts.Length > 1)
                index = int.Parse(parts[1], CultureInfo.InvariantCulture);
        }

        public Device(DeviceType deviceType, int index = -1)
        {
            type = deviceType;
            this.index = index;
        }

        public DeviceType type { get; }

        public int index { get; } = -1;

        public static implicit operator Device(string description) => new(description);

        public override string ToString() => type == DeviceType.CPU ? "cpu" : index < 0 ? "cuda" : $"cuda:{index}";
    }

    public static class cuda
    {
        public static bool is_available() => device_count() > 0;

        public static int device_count()
        {
            Shim.Check(Shim.mmesid_torch_cuda_devices(out int count));
            return count;
        }

        public static void synchronize(Device? device = null) => Shim.Check(Shim.mmesid_torch_cuda_synchronize(device?.index ?? -1));
    }
}
