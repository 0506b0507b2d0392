using TorchSharp.Interop;

namespace TorchSharp;

public static partial class torch
{
    // Operators that sum, order or count along dimensions, and products of matrices.
    public partial class Tensor
    {
        public Tensor sum(ScalarType? type = null) => Aten.Call("sum", this, type);
        public Tensor sum(long dim, bool keepdim = false, ScalarType? type = null) => sum([dim], keepdim, type);
        public Tensor sum(long[] dim, bool keepdim = false, ScalarType? type = null) => Aten.Call("sum.dim_IntList", this, dim, keepdim, type);
        public Tensor mean() => Aten.Call("mean", this);
        public Tensor mean(long[] dimensions, bool keepdim = false, ScalarType? type = null) => Aten.Call("mean.dim", this, dimensions, keepdim, type);
        public Tensor var(bool unbiased = true) => Aten.Call("var", this, unbiased);
        public Tensor var(long dim, bool unbiased = true, bool keepdim = false) => var([dim], unbiased, keepdim);
        public Tensor var(long[] dimensions, bool unbiased = true, bool keepdim = false) => Aten.Call("var.dim", this, dimensions, unbiased, keepdim);
        public Tensor std(bool unbiased = true) => Aten.Call("std", this, unbiased);
        public Tensor std(long dim, bool unbiased = true, bool keepdim = false) => std([dim], unbiased, keepdim);
        public Tensor std(long[] dimensions, bool unbiased = true, bool keepdim = false) => Aten.Call("std.dim", this, dimensions, unbiased, keepdim);
        public Tensor norm(float p = 2.0f) => Aten.Call("norm.Scalar", this, (Scalar)p);
        public Tensor norm(int dim, bool keepdim = false, float p = 2.0f) => Aten.Call("norm.ScalarOpt_dim", this, (Scalar)p, (long[])[dim], keepdim);
        public Tensor logsumexp(long dim, bool keepdim = false) => Aten.Call("logsumexp", this, (long[])[dim], keepdim);
        public Tensor softmax(long dim, ScalarType? dtype = null) => Aten.Call("softmax.int", this, dim, dtype);
        public Tensor log_softmax(long dim, ScalarType? dtype = null) => Aten.Call("log_softmax.int", this, dim, dtype);
        public Tensor cumsum(long dim, ScalarType? type = null) => Aten.Call("cumsum", this, dim, type);
        public Tensor max() => Aten.Call("max", this);
        public (Tensor values, Tensor indexes) max(long dim, bool keepdim = false) => Aten.Pair("max.dim", this, dim, keepdim);
        public Tensor min() => Aten.Call("min", this);
        public (Tensor values, Tensor indexes) min(long dim, bool keepdim = false) => Aten.Pair("min.dim", this, dim, keepdim);
        public Tensor amax(params long[] dims) => Aten.Call("amax", this, dims);
        public Tensor amax(long[] dims, bool keepdim) => Aten.Call("amax", this, dims, keepdim);
        public Tensor amin(params long[] dims) => Aten.Call("amin", this, dims);
        public Tensor amin(long[] dims, bool keepdim) => Aten.Call("amin", this, dims, keepdim);
        public Tensor argmax() => Aten.Call("argmax", this);
        public Tensor argmax(long dim, bool keepdim = false) => Aten.Call("argmax", this, dim, keepdim);
        public Tensor argmin() => Aten.Call("argmin", this);
        public Tensor argmin(long dim, bool keepdim = false) => Aten.Call("argmin", this, dim, keepdim);
        public Tensor argsort(long dim = -1, bool descending = false) => Aten.Call("argsort", this, dim, descending);
        public (Tensor Values, Tensor Indices) sort(long dim = -1, bool descending = false, bool stable = false) => Aten.Pair("sort.stable", this, stable, dim, descending);
        public (Tensor values, Tensor indexes) topk(int k, int dim = -1, bool largest = true, bool sorted = true) => Aten.Pair("topk", this, k, dim, largest, sorted);
        public Tensor all() => Aten.Call("all", this);
        public Tensor all(long dim, bool keepdim = false) => Aten.Call("all.dim", this, dim, keepdim);
        public Tensor any() => Aten.Call("any", this);
        public Tensor any(long dim, bool keepdim = false) => Aten.Call("any.dim", this, dim, keepdim);
        public Tensor count_nonzero(long[]? dims = null) => Aten.Call("count_nonzero.dim_IntList", this, dims ?? []);
        public Tensor bincount(Tensor? weights = null, long minlength = 0) => Aten.Call("bincount", this, weights, minlength);
        public Tensor nonzero() => Aten.Call("nonzero", this);

        public Tensor matmul(Tensor target) => Aten.Call("matmul", this, target);
        public Tensor mm(Tensor target) => Aten.Call("mm", this, target);
        public Tensor bmm(Tensor batch2) => Aten.Call("bmm", this, batch2);
        public Tensor mv(Tensor target) => Aten.Call("mv", this, target);
        public Tensor dot(Tensor other) => Aten.Call("dot", this, other);
        public Tensor outer(Tensor vec2) => Aten.Call("outer", this, vec2);
        public Tensor addmm(Tensor mat1, Tensor mat2, float beta = 1, float alpha = 1) => Aten.Call("addmm", this, mat1, mat2, (Scalar)beta, (Scalar)alpha);
        public Tensor baddbmm(Tensor batch1, Tensor batch2, float beta = 1, float alpha = 1) => Aten.Call("baddbmm", this, batch1, batch2, (Scalar)beta, (Scalar)alpha);
    }
}
