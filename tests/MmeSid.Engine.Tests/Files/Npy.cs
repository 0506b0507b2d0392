using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text;
using MmeSid.Engine.Files;

namespace MmeSid.Engine.Tests;

/// <summary>Builds .npy files byte by byte, independent of the writer under test.</summary>
internal static class Npy
{
    public static byte[] Bytes<T>(string descr, string shape, ReadOnlySpan<T> values, int version = 1, bool fortran = false)
        where T : unmanaged
        => Raw($"{{'descr': '{descr}', 'fortran_order': {(fortran ? "True" : "False")}, 'shape': {shape}, }}", MemoryMarshal.AsBytes(values), version);

    public static byte[] Raw(string dictionary, ReadOnlySpan<byte> values, int version = 1)
    {
        byte[] text = Encoding.UTF8.GetBytes(dictionary + "\n");
        using var stream = new MemoryStream();
        stream.Write([0x93, .. "NUMPY"u8, (byte)version, 0]);
        byte[] length = new byte[version == 1 ? 2 : 4];
        if (version == 1)
            BinaryPrimitives.WriteUInt16LittleEndian(length, (ushort)text.Length);
        else
            BinaryPrimitives.WriteInt32LittleEndian(length, text.Length);
        stream.Write(length);
        stream.Write(text);
        stream.Write(values);
        return stream.ToArray();
    }

    public static string Matrix<T>(this ScratchFolder folder, string name, int columns, params T[] values)
        where T : unmanaged
    {
        using FileStream stream = File.Create(folder[name]);
        NpyFile.Write<T>(stream, values, values.Length / columns, columns);
        return folder[name];
    }
}
