using System.Collections;
using System.Diagnostics.CodeAnalysis;

namespace MmeSid.Engine.Files;

/// <summary>
/// The keys of a GGUF file, in order. A value is a <see cref="bool"/>, an integer of 8 to 64 bits, a <see cref="float"/>, a <see cref="double"/>, a <see cref="string"/>,
/// or a one-dimensional array of one of these.
/// </summary>
public sealed class GgufMetadata : IReadOnlyDictionary<string, object>
{
    private readonly Dictionary<string, object> _values = new(StringComparer.Ordinal);
    private readonly List<string> _order = [];

    /// <summary>No keys.</summary>
    public GgufMetadata()
    {
    }

    /// <summary>The same keys as another's.</summary>
    public GgufMetadata(IEnumerable<KeyValuePair<string, object>> values)
    {
        ArgumentNullException.ThrowIfNull(values);
        foreach ((string key, object value) in values)
            Add(key, value);
    }

    /// <inheritdoc/>
    public IEnumerable<string> Keys => _order;

    /// <inheritdoc/>
    public IEnumerable<object> Values => _order.Select(key => _values[key]);

    /// <inheritdoc/>
    public int Count => _order.Count;

    /// <summary>The value of a key. Setting one that exists keeps its place.</summary>
    /// <exception cref="KeyNotFoundException">There is no such key.</exception>
    /// <exception cref="ArgumentException">The value has a type that the format does not store.</exception>
    public object this[string key]
    {
        get => _values[key];
        set
        {
            Check(key, value);
            if (!_values.ContainsKey(key))
                _order.Add(key);
            _values[key] = value;
        }
    }

    /// <summary>Adds a key at the end.</summary>
    /// <exception cref="ArgumentException">The key exists, or the value has a type that the format does not store.</exception>
    public void Add(string key, object value)
    {
        Check(key, value);
        if (!_values.TryAdd(key, value))
            throw new ArgumentException($"two keys are named '{key}'", nameof(key));
        _order.Add(key);
    }

    /// <summary>Removes a key; false when there was none.</summary>
    public bool Remove(string key) => _values.Remove(key) && _order.Remove(key);

    /// <inheritdoc/>
    public bool ContainsKey(string key) => _values.ContainsKey(key);

    /// <inheritdoc/>
    public bool TryGetValue(string key, [MaybeNullWhen(false)] out object value) => _values.TryGetValue(key, out value);

    /// <inheritdoc/>
    public IEnumerator<KeyValuePair<string, object>> GetEnumerator() => _order.Select(key => KeyValuePair.Create(key, _values[key])).GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();

    /// <summary>The text of a key, or null without it.</summary>
    /// <exception cref="InvalidDataException">It holds something else.</exception>
    public string? Text(string key) => Find<string>(key, "a text");

    /// <summary>The texts of a key, or null without it.</summary>
    /// <exception cref="InvalidDataException">It holds something else.</exception>
    public string[]? Texts(string key) => Find<string[]>(key, "texts");

    /// <summary>The integer of a key, whatever its width, or null without it.</summary>
    /// <exception cref="InvalidDataException">It holds something else, or more than 2⁶³ − 1.</exception>
    public long? Integer(string key) => Find<object>(key, "an integer") switch
    {
        null => null,
        byte value => value,
        sbyte value => value,
        ushort value => value,
        short value => value,
        uint value => value,
        int value => value,
        long value => value,
        ulong value and <= long.MaxValue => (long)value,
        object other => throw Unexpected(key, other, "an integer"),
    };

    /// <summary>The floating-point number of a key, or null without it.</summary>
    /// <exception cref="InvalidDataException">It holds something else.</exception>
    public double? Number(string key) => Find<object>(key, "a number") switch
    {
        null => null,
        float value => value,
        double value => value,
        object other => throw Unexpected(key, other, "a number"),
    };

    /// <summary>The exception for a key that holds something else than expected.</summary>
    public static InvalidDataException Unexpected(string key, object value, string expected)
        => new($"key '{key}' holds {(value is Array array ? $"{array.Length} values of {array.GetType().GetElementType()!.Name}" : $"a {value.GetType().Name}")}, expected {expected}");

    private T? Find<T>(string key, string expected)
        where T : class
        => !_values.TryGetValue(key, out object? value) ? null : value as T ?? throw Unexpected(key, value, expected);

    private static void Check(string key, object value)
    {
        ArgumentException.ThrowIfNullOrEmpty(key);
        ArgumentNullException.ThrowIfNull(value);
        if (GgufValueTypes.Of(value.GetType()) is null && (value is not Array { Rank: 1 } || GgufValueTypes.Of(value.GetType().GetElementType()!) is null))
            throw new ArgumentException($"key '{key}': a GGUF file stores no {value.GetType().Name}", nameof(value));
        if (value is string[] texts && Array.Exists(texts, text => text is null))
            throw new ArgumentException($"key '{key}': one of the texts is null", nameof(value));
    }
}

/// <summary>The format's numbers for the types of metadata.</summary>
internal enum GgufValueType
{
    UInt8 = 0,
    Int8 = 1,
    UInt16 = 2,
    Int16 = 3,
    UInt32 = 4,
    Int32 = 5,
    Float32 = 6,
    Boolean = 7,
    Text = 8,
    Array = 9,
    UInt64 = 10,
    Int64 = 11,
    Float64 = 12,
}

internal static class GgufValueTypes
{
    /// <summary>Null where the format does not store the type.</summary>
    public static GgufValueType? Of(Type type) => Type.GetTypeCode(type) switch
    {
        _ when type.IsEnum => null,
        TypeCode.Byte => GgufValueType.UInt8,
        TypeCode.SByte => GgufValueType.Int8,
        TypeCode.UInt16 => GgufValueType.UInt16,
        TypeCode.Int16 => GgufValueType.Int16,
        TypeCode.UInt32 => GgufValueType.UInt32,
        TypeCode.Int32 => GgufValueType.Int32,
        TypeCode.Single => GgufValueType.Float32,
        TypeCode.Boolean => GgufValueType.Boolean,
        TypeCode.String => GgufValueType.Text,
        TypeCode.UInt64 => GgufValueType.UInt64,
        TypeCode.Int64 => GgufValueType.Int64,
        TypeCode.Double => GgufValueType.Float64,
        _ => null,
    };

    /// <summary>Bytes that a value takes at least; a text starts with its length.</summary>
    public static int LeastBytes(this GgufValueType type) => type switch
    {
        GgufValueType.UInt8 or GgufValueType.Int8 or GgufValueType.Boolean => 1,
        GgufValueType.UInt16 or GgufValueType.Int16 => 2,
        GgufValueType.UInt32 or GgufValueType.Int32 or GgufValueType.Float32 => 4,
        _ => 8,
    };
}
