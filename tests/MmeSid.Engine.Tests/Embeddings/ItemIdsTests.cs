using MmeSid.Engine.Embeddings;

namespace MmeSid.Engine.Tests.Embeddings;

public sealed class ItemIdsTests : IDisposable
{
    private readonly ScratchFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Sequential_ids_are_found_by_their_number_as_it_is_written()
    {
        ItemIds ids = ItemIds.Sequential(3_000_000_000, first: 5);
        Assert.Equal("5", ids[0]);
        Assert.Equal("3000000004", ids[2_999_999_999]);
        Assert.True(ids.TryFind("3000000004", out long row));
        Assert.Equal(2_999_999_999, row);
        foreach (string other in (string[])["4", "3000000005", "05", "+6", " 6", "6 ", "", "x", "-5", "99999999999999999999999", "٦"])
            Assert.False(ids.TryFind(other, out _), other);
        Assert.Throws<ArgumentOutOfRangeException>(() => ids[3_000_000_000]);
    }

    [Fact]
    public void Numbers_in_order_are_kept_without_memory()
    {
        Assert.True(ItemIds.FromStrings(["7", "8", "9"]).IsSequential);
        Assert.True(ItemIds.FromStrings(["7", "8", "9"]).SameAs(ItemIds.Sequential(3, 7)));
        Assert.False(ItemIds.FromStrings(["07", "8"]).IsSequential);
        Assert.False(ItemIds.FromStrings(["7", "9"]).IsSequential);
        Assert.False(ItemIds.FromStrings(["7", "9"]).SameAs(ItemIds.Sequential(2, 7)));
        Assert.Equal(0, ItemIds.FromStrings([]).Count);
    }

    [Theory]
    [InlineData("a\nb\na\n", "line 3: item id 'a' was already given in line 1; ids must be unique")]
    [InlineData("a\n\nb\n", "line 2: the item id is empty")]
    public void A_file_of_ids_that_is_not_one_is_refused(string text, string message)
    {
        string path = _folder.Write("ids.txt", text);
        Assert.Equal($"{path}: {message}", Assert.Throws<InvalidDataException>(() => ItemIds.ReadFile(path)).Message);
    }

    [Fact]
    public void Files_come_back_as_written()
    {
        foreach (ItemIds ids in (ItemIds[])[ItemIds.Sequential(12), ItemIds.FromStrings(["ä b", "x", "日本"]), ItemIds.Sequential(0)])
        {
            using (FileStream stream = File.Create(_folder["ids.txt"]))
                ids.Write(stream);
            Assert.True(ids.SameAs(ItemIds.ReadFile(_folder["ids.txt"])));
        }
        Assert.Equal(["a", "b"], ItemIds.ReadFile(_folder.Write("crlf.txt", "a\r\nb")));
        Assert.Equal($"{_folder["bad.txt"]}: is no UTF-8 text", Assert.Throws<InvalidDataException>(() => ItemIds.ReadFile(_folder.Write("bad.txt", [0xC3, 0x28]))).Message);
        Assert.Throws<ArgumentException>(() => ItemIds.FromStrings(["a\nb"]));
        Assert.Throws<ArgumentException>(() => ItemIds.FromStrings(["a", "a"]));
    }
}
