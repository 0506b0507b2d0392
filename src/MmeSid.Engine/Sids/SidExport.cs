using System.Text;
using System.Text.Encodings.Web;
using CsvHelper;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Files;

namespace MmeSid.Engine.Sids;

/// <summary>SIDs in the forms that other tools read. Items come in row order; equal input gives equal bytes.</summary>
public static class SidExport
{
    /// <summary>
    /// JSON as LC-Rec and LETTER use it: one object, <c>"item": ["&lt;a_12&gt;", "&lt;b_3&gt;", …]</c> per item, one item per line.
    /// </summary>
    /// <exception cref="IOException">The path exists without <paramref name="force"/>, or cannot be written.</exception>
    /// <exception cref="ArgumentException">Items and SIDs differ in number.</exception>
    public static void WriteJson(ItemIds items, SidTable sids, string path, bool force)
    {
        Check(items, sids);
        using var output = OutputFile.Create(path, force);
        using (var writer = new StreamWriter(output.Stream, new UTF8Encoding(encoderShouldEmitUTF8Identifier: false), 1 << 16, leaveOpen: true) { NewLine = "\n" })
        {
            writer.Write('{');
            for (long row = 0; row < sids.Count; row++)
            {
                writer.WriteLine(row == 0 ? "" : ",");
                writer.Write('"');
                JavaScriptEncoder.UnsafeRelaxedJsonEscaping.Encode(writer, items[row]);
                writer.Write("\": [");
                ReadOnlySpan<ushort> sid = sids[row];
                for (int level = 0; level < sid.Length; level++)
                {
                    writer.Write(level == 0 ? "\"" : ", \"");
                    writer.Write(SidText.Token(level, sid[level]));
                    writer.Write('"');
                }
                writer.Write(']');
            }
            writer.WriteLine();
            writer.WriteLine('}');
        }
        output.Commit();
    }

    /// <summary>CSV with a head: <c>item,code_1,…,code_L</c>.</summary>
    /// <exception cref="IOException">The path exists without <paramref name="force"/>, or cannot be written.</exception>
    /// <exception cref="ArgumentException">Items and SIDs differ in number.</exception>
    public static void WriteCsv(ItemIds items, SidTable sids, string path, bool force)
    {
        Check(items, sids);
        using var output = OutputFile.Create(path, force);
        using (var csv = CsvWriter.Create(output.Stream, new CsvWriterOptions { NewLine = "\n" }, leaveOpen: true))
        {
            csv.WriteField("item");
            for (int level = 0; level < sids.Levels; level++)
                csv.WriteField($"code_{level + 1}");
            csv.EndRecord();
            for (long row = 0; row < sids.Count; row++)
            {
                csv.WriteField(items[row]);
                foreach (ushort code in sids[row])
                    csv.WriteField((int)code, default);
                csv.EndRecord();
            }
        }
        output.Commit();
    }

    /// <summary>Parquet with the same columns, see <see cref="ParquetFile.WriteSids"/>.</summary>
    /// <exception cref="IOException">The path exists without <paramref name="force"/>, or cannot be written.</exception>
    /// <exception cref="Kernels.BackendUnavailableException">libduckdb is not there; nothing was written.</exception>
    public static void WriteParquet(ItemIds items, SidTable sids, string path, bool force)
    {
        Check(items, sids);
        ParquetFile.WriteSids(path, items, sids.Codes, sids.Levels, force);
    }

    private static void Check(ItemIds items, SidTable sids)
    {
        ArgumentNullException.ThrowIfNull(items);
        ArgumentNullException.ThrowIfNull(sids);
        if (items.Count != sids.Count)
            throw new ArgumentException($"{items.Count} items for {sids.Count} SIDs", nameof(items));
    }
}
