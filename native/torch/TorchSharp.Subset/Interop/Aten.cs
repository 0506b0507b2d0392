using System.Collections.Concurrent;
using static TorchSharp.torch;

namespace TorchSharp.Interop;

/// <summary>
/// Calls operators of libtorch by their names in its schemas (<c>add.Tensor</c> is the overload Tensor of aten::add). Arguments that are left out
/// at the end take the schema's defaults, so that a call fits every libtorch that knows the operator.
/// </summary>
internal static unsafe class Aten
{
    private static readonly ConcurrentDictionary<string, nint> s_operators = new();

    /// <summary>The first result, a tensor.</summary>
    public static Tensor Call(string op, params ReadOnlySpan<Value> arguments)
    {
        ReadOnlySpan<Shim.NativeValue> results = Invoke(op, arguments);
        return new Tensor((nint)results[0].Payload);
    }

    /// <summary>For operators that change their first argument and return it.</summary>
    public static void InPlace(string op, params ReadOnlySpan<Value> arguments)
    {
        foreach (ref readonly Shim.NativeValue result in Invoke(op, arguments))
        {
            if (result.Kind == Shim.Kind.Tensor)
                Shim.mmesid_torch_tensor_release((nint)result.Payload);
        }
    }

    /// <summary>All results, tensors.</summary>
    public static Tensor[] Many(string op, params ReadOnlySpan<Value> arguments)
    {
        ReadOnlySpan<Shim.NativeValue> results = Invoke(op, arguments);
        var tensors = new Tensor[results.Length];
        for (int i = 0; i < tensors.Length; i++)
            tensors[i] = new Tensor((nint)results[i].Payload);
        return tensors;
    }

    /// <summary>The two results, tensors.</summary>
    public static (Tensor, Tensor) Pair(string op, params ReadOnlySpan<Value> arguments)
    {
        ReadOnlySpan<Shim.NativeValue> results = Invoke(op, arguments);
        return (new Tensor((nint)results[0].Payload), new Tensor((nint)results[1].Payload));
    }

    /// <summary>The result, a truth value.</summary>
    public static bool Test(string op, params ReadOnlySpan<Value> arguments) => Invoke(op, arguments)[0].Payload != 0;

    /// <summary>The result, a number.</summary>
    public static Scalar Number(string op, params ReadOnlySpan<Value> arguments)
    {
        Shim.NativeValue result = Invoke(op, arguments)[0];
        return new Scalar(result.Kind, result.Payload);
    }

    /// <summary>Results are valid until the next call of this thread.</summary>
    private static ReadOnlySpan<Shim.NativeValue> Invoke(string op, ReadOnlySpan<Value> arguments)
    {
        const int wordsOnStack = 64;
        nint handle = s_operators.GetOrAdd(op, Find);
        int words = 0;
        foreach (ref readonly Value argument in arguments)
            words += argument.Words;
        Shim.NativeValue* native = stackalloc Shim.NativeValue[arguments.Length];
        Span<long> room = words <= wordsOnStack ? stackalloc long[wordsOnStack] : new long[words];
        HeldHandles held = HeldHandles.OfThread;
        fixed (long* start = room)
        {
            try
            {
                long* free = start;
                for (int i = 0; i < arguments.Length; i++)
                {
                    arguments[i].Write(ref native[i], free, held);
                    free += arguments[i].Words;
                }
                if (Shim.mmesid_torch_call(handle, native, arguments.Length, out Shim.NativeValue* results, out int count) == 0)
                    return new(results, count);
            }
            finally
            {
                held.Release();
            }
        }
        string error = Shim.LastError;
        throw Shim.Failure($"{error.TrimEnd()} (aten::{op} of {Describe(arguments)})");
    }

    private static string Describe(ReadOnlySpan<Value> arguments)
    {
        var texts = new string[arguments.Length];
        for (int i = 0; i < texts.Length; i++)
            texts[i] = arguments[i].ToString();
        return string.Join(", ", texts);
    }

    private static nint Find(string op)
    {
        ShimLibrary.Require();
        int dot = op.IndexOf('.', StringComparison.Ordinal);
        Shim.Check(Shim.mmesid_torch_operator("aten::" + (dot < 0 ? op : op[..dot]), dot < 0 ? "" : op[(dot + 1)..], out nint handle));
        return handle;
    }
}
