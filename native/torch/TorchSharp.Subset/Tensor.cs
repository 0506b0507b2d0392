using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using TorchSharp.Interop;
using TorchSharp.Utils;

namespace TorchSharp;

public static partial class torch
{
    /// <summary>Type of the values of a tensor, numbered as libtorch numbers them.</summary>
    public enum ScalarType : sbyte
    {
        Byte = 0,
        Int8 = 1,
        Int16 = 2,
        Int32 = 3,
        Int64 = 4,
        Float16 = 5,
        Float32 = 6,
        Float64 = 7,
        ComplexFloat32 = 9,
        ComplexFloat64 = 10,
        Bool = 11,
        BFloat16 = 15,
    }

    public static readonly ScalarType uint8 = ScalarType.Byte, int8 = ScalarType.Int8, int16 = ScalarType.Int16, int32 = ScalarType.Int32, int64 = ScalarType.Int64,
        float16 = ScalarType.Float16, float32 = ScalarType.Float32, float64 = ScalarType.Float64, @bool = ScalarType.Bool, bfloat16 = ScalarType.BFloat16;

    public static bool is_floating_point(ScalarType type) => type is ScalarType.Float16 or ScalarType.Float32 or ScalarType.Float64 or ScalarType.BFloat16;

    internal static ScalarType TypeOf<T>()
        where T : unmanaged
        => Type.GetTypeCode(typeof(T)) switch
        {
            TypeCode.Boolean => ScalarType.Bool,
            TypeCode.Byte => ScalarType.Byte,
            TypeCode.SByte => ScalarType.Int8,
            TypeCode.Int16 => ScalarType.Int16,
            TypeCode.Int32 => ScalarType.Int32,
            TypeCode.Int64 => ScalarType.Int64,
            TypeCode.Single => ScalarType.Float32,
            TypeCode.Double => ScalarType.Float64,
            _ when typeof(T) == typeof(Half) => ScalarType.Float16,
            _ => throw new NotSupportedException($"{typeof(T).Name} is no type of a tensor's values"),
        };

    /// <summary>
    /// A tensor of libtorch. Belongs to the dispose scope in which it was made; without one it lives until disposed or collected. Results are new
    /// tensors; methods whose names end in an underscore change the tensor and return it.
    /// </summary>
    public partial class Tensor : IDisposable
    {
        private TensorHandle _handle;

        internal Tensor(nint tensor)
            : this(new TensorHandle(tensor))
        {
        }

        internal Tensor(TensorHandle handle)
        {
            TensorHandle.Count();
            _handle = handle;
            DisposeScope.Register(this);
        }

        /// <summary>For a tensor that takes the place of another in its scope.</summary>
        internal Tensor(Tensor replaced)
        {
            _handle = replaced.Handle;
            DisposeScope? scope = replaced.OwningDisposeScope;
            scope?.Remove(replaced);
            replaced._handle = new TensorHandle();
            scope?.Attach(this);
        }

        /// <summary>References to tensors that this process holds.</summary>
        public static long TotalCount => TensorHandle.Live;

        /// <summary>The most there ever were.</summary>
        public static long PeakCount => TensorHandle.Peak;

        /// <summary>A name for people.</summary>
        public string? name { get; set; }

        public bool IsInvalid => _handle.IsInvalid || _handle.IsClosed;

        public long Dimensions => Facts.Dimensions;

        public long ndim => Facts.Dimensions;

        public long NumberOfElements => Facts.Elements;

        public long ElementSize => Facts.ElementSize;

        public ScalarType dtype => (ScalarType)Facts.Type;

        public DeviceType device_type => (DeviceType)Facts.DeviceType;

        public int device_index => Facts.DeviceIndex;

        public Device device
        {
            get
            {
                Shim.TensorFacts facts = Facts;
                return new((DeviceType)facts.DeviceType, facts.DeviceIndex);
            }
        }

        public bool is_cuda => device_type == DeviceType.CUDA;

        public bool is_leaf => Facts.IsLeaf != 0;

        public long[] shape => Sizes().Sizes;

        public bool requires_grad
        {
            get => Facts.RequiresGrad != 0;
            set => Shim.Check(Shim.mmesid_torch_tensor_require_grad(Handle, value ? 1 : 0));
        }

        /// <summary>The gradient that backward has added up, as a new reference to it; null where there is none.</summary>
        public Tensor? grad
        {
            get
            {
                Shim.Check(Shim.mmesid_torch_tensor_grad(Handle, out TensorHandle found));
                return found.IsInvalid ? null : new Tensor(found);
            }
            set
            {
                HeldHandles held = HeldHandles.OfThread;
                try
                {
                    Shim.Check(Shim.mmesid_torch_tensor_set_grad(Handle, value is null ? 0 : held.Add(value.Handle)));
                }
                finally
                {
                    held.Release();
                }
            }
        }

        /// <summary>The memory of a contiguous tensor on the CPU; valid while the tensor is.</summary>
        /// <exception cref="InvalidOperationException">It is not contiguous, on another device, or above 2 GB.</exception>
        public unsafe Span<byte> bytes
        {
            get
            {
                Shim.TensorFacts facts = Facts;
                if (facts.IsContiguous == 0 || facts.DeviceType != (int)DeviceType.CPU)
                    throw new InvalidOperationException($"the memory of {this} was asked for, expected a contiguous tensor on the CPU");
                return new((void*)DataPointer, checked((int)(facts.Elements * facts.ElementSize)));
            }
            set
            {
                Span<byte> destination = bytes;
                if (destination.Length != value.Length)
                    throw new ArgumentException($"{this} takes {destination.Length} bytes, {value.Length} were given", nameof(value));
                value.CopyTo(destination);
            }
        }

        internal ref DisposeScope? OwningDisposeScope => ref _scope;

        /// <summary>For native calls.</summary>
        /// <exception cref="InvalidOperationException">The tensor was disposed.</exception>
        internal TensorHandle Handle => IsInvalid ? throw new InvalidOperationException("the tensor was disposed") : _handle;

        internal nint DataPointer
        {
            get
            {
                Shim.Check(Shim.mmesid_torch_tensor_data(Handle, out nint data));
                return data;
            }
        }

        private Shim.TensorFacts Facts
        {
            get
            {
                Shim.Check(Shim.mmesid_torch_tensor_facts(Handle, out Shim.TensorFacts facts));
                return facts;
            }
        }

        private DisposeScope? _scope;

        public void Dispose()
        {
            Dispose(true);
            GC.SuppressFinalize(this);
        }

        public Tensor MoveToOuterDisposeScope()
        {
            _scope?.MoveToOuter(this);
            return this;
        }

        public Tensor DetachFromDisposeScope()
        {
            _scope?.Detach(this);
            return this;
        }

        public Tensor MoveToOtherDisposeScope(Tensor other) => MoveToOtherDisposeScope(other._scope);

        public Tensor MoveToOtherDisposeScope(DisposeScope? other)
        {
            if (_scope is null)
                other?.Attach(this);
            else
                _scope.MoveToOther(other, this);
            return this;
        }

        public long dim() => Facts.Dimensions;

        public long numel() => Facts.Elements;

        public long element_size() => Facts.ElementSize;

        public bool is_floating_point() => torch.is_floating_point(dtype);

        public bool is_cpu() => device_type == DeviceType.CPU;

        public bool is_contiguous() => Facts.IsContiguous != 0;

        public long size(int dim)
        {
            long[] sizes = shape;
            return sizes[dim < 0 ? dim + sizes.Length : dim];
        }

        public long[] size() => shape;

        public long[] stride() => Sizes().Strides;

        public Tensor requires_grad_(bool requires_grad = true)
        {
            this.requires_grad = requires_grad;
            return this;
        }

        public Tensor with_requires_grad(bool requires_grad = true) => requires_grad_(requires_grad);

        public void retain_grad() => Shim.Check(Shim.mmesid_torch_tensor_retain_grad(Handle));

        public void backward() => autograd.backward([this]);

        public void backward(IList<Tensor>? grad_tensors = null, bool retain_graph = false, bool create_graph = false, IList<Tensor>? inputs = null)
            => autograd.backward([this], grad_tensors, retain_graph, create_graph, inputs);

        public Tensor detach() => Aten.Call("detach", this);

        public Tensor alias() => Aten.Call("alias", this);

        /// <summary>The values in the memory of a tensor on the CPU, which it stays attached to.</summary>
        /// <exception cref="InvalidOperationException">The tensor is on another device.</exception>
        /// <exception cref="ArgumentException">Its values are of another type.</exception>
        public TensorAccessor<T> data<T>()
            where T : unmanaged
            => new(this);

        /// <summary>The value of a tensor of one element.</summary>
        public T item<T>()
            where T : unmanaged
        {
            if (NumberOfElements != 1)
                throw new InvalidOperationException($"item of {this}, expected a tensor of one element");
            if (dtype != TypeOf<T>())
                throw new ArgumentException($"item<{typeof(T).Name}> of {this}");
            Scalar value = Aten.Number("item", this);
            long bits = value.Bits;
            return value.Kind switch
            {
                Shim.Kind.Double when typeof(T) == typeof(double) => Unsafe.BitCast<double, T>(value.ToDouble()),
                Shim.Kind.Double when typeof(T) == typeof(float) => Unsafe.BitCast<float, T>((float)value.ToDouble()),
                Shim.Kind.Double => Unsafe.BitCast<Half, T>((Half)value.ToDouble()),
                _ => MemoryMarshal.Read<T>(MemoryMarshal.AsBytes(new ReadOnlySpan<long>(in bits))),
            };
        }

        public Scalar ToScalar() => Aten.Number("item", this);

        public double ToDouble() => ToScalar().ToDouble();

        public float ToSingle() => (float)ToScalar().ToDouble();

        public long ToInt64() => ToScalar().ToInt64();

        public int ToInt32() => checked((int)ToScalar().ToInt64());

        public bool ToBoolean() => ToScalar().Bits != 0;

        public override string ToString() => IsInvalid ? "a disposed tensor" : $"[{string.Join('x', shape)}], type = {dtype}, device = {device}";

        public override bool Equals(object? obj) => obj is Tensor other && Equals(other);

        /// <summary>Whether shapes and values are equal.</summary>
        public bool Equals(Tensor target) => Aten.Test("equal", this, target);

        public override int GetHashCode() => RuntimeHelpers.GetHashCode(this);

        protected virtual void Dispose(bool disposing)
        {
            if (IsInvalid || !disposing)
                return;
            _scope?.Remove(this);
            _handle.Dispose();
        }

        private unsafe (long[] Sizes, long[] Strides) Sizes()
        {
            long dimensions = Facts.Dimensions;
            long[] sizes = new long[dimensions], strides = new long[dimensions];
            fixed (long* firstSize = sizes, firstStride = strides)
                Shim.Check(Shim.mmesid_torch_tensor_sizes(Handle, firstSize, firstStride));
            return (sizes, strides);
        }
    }
}
