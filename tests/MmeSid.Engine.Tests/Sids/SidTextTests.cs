using MmeSid.Engine.Sids;

namespace MmeSid.Engine.Tests.Sids;

public sealed class SidTextTests
{
    [Fact]
    public void WritesBothForms()
    {
        Assert.Equal("<a_12><b_0><c_65535>", SidText.Tokens([12, 0, 65_535]));
        Assert.Equal("12-0-65535", SidText.Numbers([12, 0, 65_535]));
        Assert.Equal(["a", "z", "aa", "az", "ba", "zz", "aaa"], ((int[])[0, 25, 26, 51, 52, 701, 702]).Select(SidText.LevelName));
    }

    [Theory]
    [InlineData("<a_12><b_0><c_7>")]
    [InlineData("<a_12> <b_0> <c_7>")]
    [InlineData("12-0-7")]
    [InlineData("12,0,7")]
    [InlineData(" 12 0 7 ")]
    public void ReadsAllForms(string text) => Assert.Equal([12, 0, 7], SidText.Parse(text));

    [Theory]
    [InlineData("")]
    [InlineData("<b_1>")]
    [InlineData("<a_1><a_2>")]
    [InlineData("65536")]
    [InlineData("1-x")]
    [InlineData("1--2.5")]
    public void RefusesOtherText(string text) => Assert.Throws<ArgumentException>(() => SidText.Parse(text));
}
