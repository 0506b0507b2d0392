using TorchSharp.Interop;
using TorchSharp.Modules;

namespace TorchSharp;

public static partial class torch
{
    /// <summary>How a quotient is rounded, in libtorch's words.</summary>
    public enum RoundingMode
    {
        None,
        trunc,
        floor,
    }

    // Operators on one element at a time.
    public partial class Tensor
    {
        public static Tensor operator +(Tensor left, Tensor right) => left.add(right);
        public static Tensor operator +(Tensor left, Scalar right) => left.add(right);
        public static Tensor operator +(Scalar left, Tensor right) => right.add(left);
        public static Tensor operator +(Tensor left, int right) => left.add(right);
        public static Tensor operator +(Tensor left, long right) => left.add(right);
        public static Tensor operator +(Tensor left, float right) => left.add(right);
        public static Tensor operator +(Tensor left, double right) => left.add(right);
        public static Tensor operator +(int left, Tensor right) => right.add(left);
        public static Tensor operator +(long left, Tensor right) => right.add(left);
        public static Tensor operator +(float left, Tensor right) => right.add(left);
        public static Tensor operator +(double left, Tensor right) => right.add(left);
        public static Tensor operator -(Tensor left, Tensor right) => left.sub(right);
        public static Tensor operator -(Tensor left, Scalar right) => left.sub(right);
        public static Tensor operator -(Scalar left, Tensor right) => Aten.Call("rsub.Scalar", right, left);
        public static Tensor operator -(Tensor left, int right) => left.sub(right);
        public static Tensor operator -(Tensor left, long right) => left.sub(right);
        public static Tensor operator -(Tensor left, float right) => left.sub(right);
        public static Tensor operator -(Tensor left, double right) => left.sub(right);
        public static Tensor operator -(int left, Tensor right) => (Scalar)left - right;
        public static Tensor operator -(long left, Tensor right) => (Scalar)left - right;
        public static Tensor operator -(float left, Tensor right) => (Scalar)left - right;
        public static Tensor operator -(double left, Tensor right) => (Scalar)left - right;
        public static Tensor operator -(Tensor tensor) => tensor.neg();
        public static Tensor operator *(Tensor left, Tensor right) => left.mul(right);
        public static Tensor operator *(Tensor left, Scalar right) => left.mul(right);
        public static Tensor operator *(Scalar left, Tensor right) => right.mul(left);
        public static Tensor operator *(Tensor left, int right) => left.mul(right);
        public static Tensor operator *(Tensor left, long right) => left.mul(right);
        public static Tensor operator *(Tensor left, float right) => left.mul(right);
        public static Tensor operator *(Tensor left, double right) => left.mul(right);
        public static Tensor operator *(int left, Tensor right) => right.mul(left);
        public static Tensor operator *(long left, Tensor right) => right.mul(left);
        public static Tensor operator *(float left, Tensor right) => right.mul(left);
        public static Tensor operator *(double left, Tensor right) => right.mul(left);
        public static Tensor operator /(Tensor left, Tensor right) => left.div(right);
        public static Tensor operator /(Tensor left, Scalar right) => left.div(right);
        public static Tensor operator /(Scalar left, Tensor right) => Reciprocal(left, right);
        public static Tensor operator /(Tensor left, int right) => left.div(right);
        public static Tensor operator /(Tensor left, long right) => left.div(right);
        public static Tensor operator /(Tensor left, float right) => left.div(right);
        public static Tensor operator /(Tensor left, double right) => left.div(right);
        public static Tensor operator /(int left, Tensor right) => Reciprocal(left, right);
        public static Tensor operator /(long left, Tensor right) => Reciprocal(left, right);
        public static Tensor operator /(float left, Tensor right) => Reciprocal(left, right);
        public static Tensor operator /(double left, Tensor right) => Reciprocal(left, right);
        public static Tensor operator %(Tensor left, Tensor right) => left.remainder(right);
        public static Tensor operator %(Tensor left, Scalar right) => left.remainder(right);
        public static Tensor operator &(Tensor left, Tensor right) => left.bitwise_and(right);
        public static Tensor operator |(Tensor left, Tensor right) => left.bitwise_or(right);
        public static Tensor operator ^(Tensor left, Tensor right) => left.bitwise_xor(right);
        public static Tensor operator ~(Tensor left) => left.bitwise_not();
        public static Tensor operator ==(Tensor left, Tensor right) => left.eq(right);
        public static Tensor operator ==(Tensor left, Scalar right) => left.eq(right);
        public static Tensor operator !=(Tensor left, Tensor right) => left.ne(right);
        public static Tensor operator !=(Tensor left, Scalar right) => left.ne(right);
        public static Tensor operator <(Tensor left, Tensor right) => left.lt(right);
        public static Tensor operator <(Tensor left, Scalar right) => left.lt(right);
        public static Tensor operator <=(Tensor left, Tensor right) => left.le(right);
        public static Tensor operator <=(Tensor left, Scalar right) => left.le(right);
        public static Tensor operator >(Tensor left, Tensor right) => left.gt(right);
        public static Tensor operator >(Tensor left, Scalar right) => left.gt(right);
        public static Tensor operator >=(Tensor left, Tensor right) => left.ge(right);
        public static Tensor operator >=(Tensor left, Scalar right) => left.ge(right);

        public Tensor add(Tensor target) => Aten.Call("add.Tensor", this, target);
        public Tensor add(Tensor target, Scalar alpha) => Aten.Call("add.Tensor", this, target, alpha);
        public Tensor add(Scalar scalar) => Aten.Call("add.Scalar", this, scalar);
        public Tensor sub(Tensor target) => Aten.Call("sub.Tensor", this, target);
        public Tensor sub(Scalar target) => Aten.Call("sub.Scalar", this, target);
        public Tensor mul(Tensor target) => Aten.Call("mul.Tensor", this, target);
        public Tensor mul(Scalar target) => Aten.Call("mul.Scalar", this, target);
        public Tensor div(Tensor target, RoundingMode rounding_mode = RoundingMode.None) => rounding_mode == RoundingMode.None
            ? Aten.Call("div.Tensor", this, target) : Aten.Call("div.Tensor_mode", this, target, rounding_mode.ToString());
        public Tensor div(Scalar target, RoundingMode rounding_mode = RoundingMode.None) => rounding_mode == RoundingMode.None
            ? Aten.Call("div.Scalar", this, target) : Aten.Call("div.Scalar_mode", this, target, rounding_mode.ToString());
        public Tensor remainder(Tensor target) => Aten.Call("remainder.Tensor", this, target);
        public Tensor remainder(Scalar scalar) => Aten.Call("remainder.Scalar", this, scalar);
        public Tensor pow(Tensor exponent) => Aten.Call("pow.Tensor_Tensor", this, exponent);
        public Tensor pow(Scalar exponent) => Aten.Call("pow.Tensor_Scalar", this, exponent);
        public Tensor maximum(Tensor other) => Aten.Call("maximum", this, other);
        public Tensor minimum(Tensor other) => Aten.Call("minimum", this, other);
        public Tensor addcmul(Tensor tensor1, Tensor tensor2, Scalar value) => Aten.Call("addcmul", this, tensor1, tensor2, value);
        public Tensor addcdiv(Tensor tensor1, Tensor tensor2, Scalar value) => Aten.Call("addcdiv", this, tensor1, tensor2, value);
        public Tensor lerp(Tensor end, Tensor weight) => Aten.Call("lerp.Tensor", this, end, weight);

        public Tensor add_(Tensor target) => Change("add_.Tensor", target);
        public Tensor add_(Tensor target, Scalar alpha) => Change("add_.Tensor", target, alpha);
        public Tensor add_(Scalar scalar) => Change("add_.Scalar", scalar);
        public Tensor sub_(Tensor target) => Change("sub_.Tensor", target);
        public Tensor sub_(Scalar target) => Change("sub_.Scalar", target);
        public Tensor mul_(Tensor target) => Change("mul_.Tensor", target);
        public Tensor mul_(Scalar target) => Change("mul_.Scalar", target);
        public Tensor div_(Tensor target) => Change("div_.Tensor", target);
        public Tensor div_(Scalar target) => Change("div_.Scalar", target);
        public Tensor addcmul_(Tensor tensor1, Tensor tensor2, Scalar value) => Change("addcmul_", tensor1, tensor2, value);
        public Tensor addcdiv_(Tensor tensor1, Tensor tensor2, Scalar value) => Change("addcdiv_", tensor1, tensor2, value);

        public Tensor neg() => Aten.Call("neg", this);
        public Tensor abs() => Aten.Call("abs", this);
        public Tensor sign() => Aten.Call("sign", this);
        public Tensor exp() => Aten.Call("exp", this);
        public Tensor expm1() => Aten.Call("expm1", this);
        public Tensor log() => Aten.Call("log", this);
        public Tensor log1p() => Aten.Call("log1p", this);
        public Tensor log2() => Aten.Call("log2", this);
        public Tensor sqrt() => Aten.Call("sqrt", this);
        public Tensor rsqrt() => Aten.Call("rsqrt", this);
        public Tensor square() => Aten.Call("square", this);
        public Tensor reciprocal() => Aten.Call("reciprocal", this);
        public Tensor sin() => Aten.Call("sin", this);
        public Tensor cos() => Aten.Call("cos", this);
        public Tensor erf() => Aten.Call("erf", this);
        public Tensor floor() => Aten.Call("floor", this);
        public Tensor ceil() => Aten.Call("ceil", this);
        public Tensor round() => Aten.Call("round", this);
        public Tensor sqrt_() => Change("sqrt_");
        public Tensor exp_() => Change("exp_");
        public Tensor reciprocal_() => Change("reciprocal_");
        public Tensor relu_() => Change("relu_");

        public Tensor sigmoid() => Aten.Call("sigmoid", this);
        public Tensor log_sigmoid() => Aten.Call("log_sigmoid", this);
        public Tensor tanh() => Aten.Call("tanh", this);
        public Tensor relu() => Aten.Call("relu", this);
        public Tensor silu() => Aten.Call("silu", this);
        public Tensor gelu() => Aten.Call("gelu", this);
        public Tensor gelu(GELU.Approximate approximate) => Aten.Call("gelu", this, approximate.ToString());
        public Tensor leaky_relu(Scalar negative_slope) => Aten.Call("leaky_relu", this, negative_slope);
        public Tensor prelu(Tensor target) => Aten.Call("prelu", this, target);
        public Tensor softplus(double beta = 1, double threshold = 20) => Aten.Call("softplus", this, (Scalar)beta, (Scalar)threshold);

        public Tensor clamp(Scalar? min = null, Scalar? max = null) => Aten.Call("clamp", this, min, max);
        public Tensor clamp_min(Scalar min) => Aten.Call("clamp_min", this, min);
        public Tensor clamp_max(Scalar max) => Aten.Call("clamp_max", this, max);
        public Tensor clamp_(Scalar? min = null, Scalar? max = null) => Change("clamp_", min, max);

        public Tensor eq(Tensor target) => Aten.Call("eq.Tensor", this, target);
        public Tensor eq(Scalar target) => Aten.Call("eq.Scalar", this, target);
        public Tensor ne(Tensor target) => Aten.Call("ne.Tensor", this, target);
        public Tensor ne(Scalar target) => Aten.Call("ne.Scalar", this, target);
        public Tensor lt(Tensor target) => Aten.Call("lt.Tensor", this, target);
        public Tensor lt(Scalar target) => Aten.Call("lt.Scalar", this, target);
        public Tensor le(Tensor target) => Aten.Call("le.Tensor", this, target);
        public Tensor le(Scalar target) => Aten.Call("le.Scalar", this, target);
        public Tensor gt(Tensor target) => Aten.Call("gt.Tensor", this, target);
        public Tensor gt(Scalar target) => Aten.Call("gt.Scalar", this, target);
        public Tensor ge(Tensor target) => Aten.Call("ge.Tensor", this, target);
        public Tensor ge(Scalar target) => Aten.Call("ge.Scalar", this, target);
        public Tensor isnan() => Aten.Call("isnan", this);
        public Tensor isinf() => Aten.Call("isinf", this);
        public Tensor isfinite() => Aten.Call("isfinite", this);
        public Tensor logical_not() => Aten.Call("logical_not", this);
        public Tensor logical_and(Tensor other) => Aten.Call("logical_and", this, other);
        public Tensor logical_or(Tensor other) => Aten.Call("logical_or", this, other);
        public Tensor bitwise_and(Tensor other) => Aten.Call("bitwise_and.Tensor", this, other);
        public Tensor bitwise_or(Tensor other) => Aten.Call("bitwise_or.Tensor", this, other);
        public Tensor bitwise_xor(Tensor other) => Aten.Call("bitwise_xor.Tensor", this, other);
        public Tensor bitwise_not() => Aten.Call("bitwise_not", this);
        public bool allclose(Tensor target, double rtol = 1e-05, double atol = 1e-08, bool equal_nan = false) => Aten.Test("allclose", this, target, rtol, atol, equal_nan);

        public Tensor where(Tensor condition, Tensor y) => Aten.Call("where.self", condition, this, y);
        public Tensor masked_fill(Tensor mask, Scalar value) => Aten.Call("masked_fill.Scalar", this, mask, value);
        public Tensor masked_fill_(Tensor mask, Scalar value) => Change("masked_fill_.Scalar", mask, value);
        public Tensor fill_(Scalar value) => Change("fill_.Scalar", value);
        public Tensor zero_() => Change("zero_");
        public Tensor copy_(Tensor source, bool nonBlocking = false) => Change("copy_", source, nonBlocking);

        public Tensor uniform_(double from, double to, Generator? generator = null) => Change("uniform_", from, to, generator);
        public Tensor normal_(double mean = 0.0, double std = 1.0, Generator? generator = null) => Change("normal_", mean, std, generator);
        public Tensor bernoulli_(double p = 0.5, Generator? generator = null) => Change("bernoulli_.float", p, generator);
        public Tensor bernoulli(Generator? generator = null) => Aten.Call("bernoulli", this, generator);
        public Tensor multinomial(long num_samples, bool replacement = false, Generator? generator = null) => Aten.Call("multinomial", this, num_samples, replacement, generator);

        /// <summary>Calls an operator that changes this tensor.</summary>
        internal Tensor Change(string op, params ReadOnlySpan<Value> arguments)
        {
            Aten.InPlace(op, [this, .. arguments]);
            return this;
        }

        private static Tensor Reciprocal(Scalar left, Tensor right)
        {
            using Tensor reciprocal = right.reciprocal();
            return reciprocal.mul(left);
        }
    }
}
